"""The study in conf/study.yaml, whose cells (filters x methods x seeds) the pipeline runs."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML, YAMLError

from mergershift.config.schema import FilterSetName, sees_target_labels
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.files import write_text

BASELINE = "source_only"
PLAIN = "default"
"""Name of the experiment that changes nothing."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class Method(BaseModel):
    """A transfer, an adaptation and an experiment, by their names in conf/."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transfer: Name
    adaptation: Name
    experiment: Name

    @property
    def is_oracle(self) -> bool:
        """Whether target labels were used, either to train the network or to tune its hyper-parameters."""
        return sees_target_labels(self.transfer, self.experiment)

    @property
    def is_baseline(self) -> bool:
        """Whether it is source-only, the method with which all others are compared."""
        return not self.is_oracle and self.title == BASELINE

    @property
    def title(self) -> str:
        """Short name within a transfer direction.

        It is the transfer's name for an oracle, the experiment's for a tuned method, and otherwise the adaptation's.
        """
        if sees_target_labels(self.transfer):
            return self.transfer
        return self.adaptation if self.experiment == PLAIN else self.experiment


class SearchEntry(BaseModel):
    """A method whose hyper-parameters are tuned before it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adaptation: Name
    filters: FilterSetName
    transfer: Name
    trials: int = Field(ge=1)


class Study(BaseModel):
    """A study: the settings and lists from which dvc.yaml generates its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Name
    training: Name
    trainer: Name
    split: Name
    selection: Name
    tune: tuple[SearchEntry, ...]
    filters: tuple[FilterSetName, ...] = Field(min_length=1)
    methods: tuple[Method, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)

    def cells(self) -> list[Cell]:
        """Return all cells, in the order of the lists."""
        return [
            Cell(filters, method, seed)
            for filters in self.filters
            for method in self.methods
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Cell:
    """A cell of the study: one training and its evaluation."""

    filters: str
    method: Method
    seed: int

    @property
    def folder(self) -> Path:
        """Output folder of its stages, relative to the project's root; dvc.yaml contains the same path."""
        return (
            Path("outputs/cells")
            / self.filters
            / self.method.transfer
            / self.method.adaptation
            / self.method.experiment
            / f"seed{self.seed}"
        )


def study_file() -> Path:
    """Return the path of conf/study.yaml in this checkout."""
    return root() / "conf" / "study.yaml"


def read_study() -> Study:
    """Read and check conf/study.yaml; raises UserError, in two lines, if it is missing or not valid."""
    path = study_file()
    if not path.is_file():
        raise UserError(
            f"{path}: no such file.\n"
            "Run `mergershift study use demo`, or choose another study from `mergershift study list`."
        )
    return _read(path)


def _read(path: Path) -> Study:
    conf = root() / "conf"
    try:
        study = Study.model_validate(YAML(typ="safe").load(path.read_text()))
    except YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}.\nFix the file.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        found = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
        raise UserError(
            f"{path}: {where}: {problem['msg']}{found}.\nFix the file; see conf/studies/ for examples."
        ) from error
    groups = ("network", "training", "trainer", "split", "selection")
    for group, name in [
        *((group, getattr(study, group)) for group in groups),
        *(("transfer", method.transfer) for method in study.methods),
        *(("adaptation", method.adaptation) for method in study.methods),
        *(
            ("experiment", method.experiment)
            for method in study.methods
            if method.experiment not in {f"tuned_{search.adaptation}" for search in study.tune}
        ),
        *(("tuning", search.adaptation) for search in study.tune),
        *(("transfer", search.transfer) for search in study.tune),
    ]:
        if not (conf / group / f"{name}.yaml").is_file():
            known = sorted(option.stem for option in (conf / group).glob("*.yaml"))
            raise UserError(f"{path}: conf/{group}/ has no '{name}'.\nChoose one of: {', '.join(known)}.")
    return study


def studies() -> dict[str, Study]:
    """Read the studies in conf/studies/, by name; raises UserError if one of them is not valid."""
    return {path.stem: _read(path) for path in sorted((root() / "conf" / "studies").glob("*.yaml"))}


def use_study(name: str) -> str:
    """Make conf/studies/`name`.yaml the study that the pipeline runs; return one line that describes it.

    If the present study.yaml is not one of the files in conf/studies/, it is kept as study.yaml.bak. Raises
    UserError if there is no study of this name.
    """
    path = study_file()
    known = sorted(file.stem for file in (root() / "conf" / "studies").glob("*.yaml"))
    if name not in known:
        raise UserError(f"conf/studies/ has no '{name}'.\nNearest: {nearest(name, known)}.")
    chosen = root() / "conf" / "studies" / f"{name}.yaml"
    study, text = _read(chosen), chosen.read_text()
    committed = {file.read_text() for file in chosen.parent.glob("*.yaml")}
    own = path.is_file() and path.read_text() not in committed
    if own:
        shutil.copyfile(path, path.with_name(f"{path.name}.bak"))
    write_text(path, text)
    cells = len(study.cells())
    kept = f" (the previous one is now {path.name}.bak)" if own else ""
    return f"conf/study.yaml is now the study '{name}' with {cells} cells{kept}. Run it with `mergershift repro`."


def set_filters(present: Sequence[str]) -> str:
    """Remove the filter sets that the archive lacks from conf/study.yaml; return one line about those it runs.

    Filter sets in `present` that the user has removed are not added, unless no set would be left. Raises UserError
    if conf/study.yaml is missing or not valid.
    """
    path = study_file()
    listed = read_study().filters
    kept = [str(name) for name in listed if name in present] or list(present)
    unused = [name for name in present if name not in kept]
    more = f"; data/ also has {', '.join(unused)}, which you can add to its list `filters`" if unused else ""
    message = f"conf/study.yaml runs filters {', '.join(kept)}{more}"
    if list(listed) == kept:
        return message
    yaml = YAML()
    document = yaml.load(path.read_text())
    document["filters"][:] = kept
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(document, text)
    write_text(path, text.getvalue())
    return message
