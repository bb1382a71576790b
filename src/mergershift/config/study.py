"""conf/study.yaml: which cells (filters x methods x seeds) the pipeline runs."""

from __future__ import annotations

import io
import os
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
"""The experiment that changes nothing."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]


class Method(BaseModel):
    """One way to get across: a transfer, an adaptation and what an experiment file changes, by their names in conf/."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    transfer: Name
    adaptation: Name
    experiment: Name

    @property
    def is_oracle(self) -> bool:
        """Whether target labels took part: it is trained on them, or its values were tuned by them."""
        return sees_target_labels(self.transfer, self.experiment)

    @property
    def is_baseline(self) -> bool:
        """Whether it is source-only, with which the others are compared."""
        return not self.is_oracle and self.title == BASELINE

    @property
    def title(self) -> str:
        """Short name within a direction: an oracle's is its transfer's, a tuned method's that of its experiment."""
        if sees_target_labels(self.transfer):
            return self.transfer
        return self.adaptation if self.experiment == PLAIN else self.experiment


class SearchEntry(BaseModel):
    """A method whose values are searched before it is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adaptation: Name
    filters: FilterSetName
    transfer: Name
    trials: int = Field(ge=1)


class Study(BaseModel):
    """The lists from which dvc.yaml makes its stages."""

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
        """All cells, in the order of the lists."""
        return [
            Cell(filters, method, seed)
            for filters in self.filters
            for method in self.methods
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation."""

    filters: str
    method: Method
    seed: int

    @property
    def folder(self) -> Path:
        """Where its stages write, relative to the project's root; dvc.yaml spells the same path."""
        return (
            Path("outputs/cells")
            / self.filters
            / self.method.transfer
            / self.method.adaptation
            / self.method.experiment
            / f"seed{self.seed}"
        )


def study_file() -> Path:
    """conf/study.yaml of this checkout."""
    return root() / "conf" / "study.yaml"


def read_study() -> Study:
    """Read and check conf/study.yaml; raises UserError in two lines where it does not fit."""
    path = study_file()
    if not path.is_file():
        raise UserError(
            f"{path}: missing.\nType `mergershift study use demo`, or another of `mergershift study list`."
        )
    return _read(path)


def _read(path: Path) -> Study:
    conf = root() / "conf"
    try:
        study = Study.model_validate(YAML(typ="safe").load(path.read_text()))
    except YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}.\nMend the file.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        found = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
        raise UserError(
            f"{path}: {where}: {problem['msg']}{found}.\nMend the file; those in conf/studies/ show the form."
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
            known = sorted(each.stem for each in (conf / group).glob("*.yaml"))
            raise UserError(f"{path}: conf/{group}/ has no '{name}'.\nIt has: {', '.join(known)}.")
    return study


def studies() -> dict[str, Study]:
    """The studies in conf/studies/, by name."""
    return {path.stem: _read(path) for path in sorted((root() / "conf" / "studies").glob("*.yaml"))}


def use_study(name: str) -> str:
    """Make conf/studies/`name`.yaml the study that the pipeline runs; returns a line that says what it is.

    A study.yaml that is none of those in conf/studies/ is kept beside as study.yaml.bak.
    """
    path = study_file()
    known = sorted(each.stem for each in (root() / "conf" / "studies").glob("*.yaml"))
    if name not in known:
        raise UserError(f"conf/studies/ has no '{name}'.\nNearest: {nearest(name, known)}.")
    chosen = root() / "conf" / "studies" / f"{name}.yaml"
    study, text = _read(chosen), chosen.read_text()
    own = path.is_file() and path.read_text() not in {
        each.read_text() for each in chosen.parent.glob("*.yaml")
    }
    if own:
        os.replace(path, path.with_name(f"{path.name}.bak"))
    write_text(path, text)
    cells = len(study.cells())
    kept = f" (what it held is in {path.name}.bak)" if own else ""
    return f"conf/study.yaml is now the study '{name}': {cells} cells{kept}. `mergershift repro` runs it."


def set_filters(present: Sequence[str]) -> str:
    """Take filter sets that the archive lacks out of conf/study.yaml; returns a line that says what it runs.

    A set that the user took out stays out, unless nothing would be left.
    """
    path = study_file()
    listed = read_study().filters
    kept = [str(name) for name in listed if name in present] or list(present)
    idle = [name for name in present if name not in kept]
    more = f"; data/ has {', '.join(idle)} too, for its list `filters`" if idle else ""
    line = f"conf/study.yaml runs filters {', '.join(kept)}{more}"
    if list(listed) == kept:
        return line
    yaml = YAML()
    document = yaml.load(path.read_text())
    document["filters"][:] = kept
    yaml.indent(mapping=2, sequence=4, offset=2)
    text = io.StringIO()
    yaml.dump(document, text)
    write_text(path, text.getvalue())
    return line
