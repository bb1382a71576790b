"""The study in conf/study.yaml, whose cells (filters x methods x seeds) the pipeline runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from ruamel.yaml import YAML, YAMLError

from mergershift.config.conf_files import check_files
from mergershift.config.machine import AUTO, trainer_of_this_machine
from mergershift.config.schema import FilterSetName, sees_target_labels
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.reading import checked, damaged
from mergershift.core.yaml_files import sound_yaml

BASELINE = "source_only"
PLAIN = "default"
"""Name of the experiment that changes nothing."""
CONTROL = "same_galaxies"
"""Prefix of the experiments in which the target shows the source's galaxies."""
USUAL = ("pristine_to_noisy", "oracle_target_only")
"""Transfers that the names of stages leave out: the published direction, and its reference with target labels."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]

Seed = Annotated[int, Field(ge=0, lt=2**32)]
REMEDY = "Fix the file; see conf/studies/ for examples."


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
    def is_control(self) -> bool:
        """Whether its target shows the source's galaxies: it is compared, but is no candidate for the best."""
        return self.experiment.startswith(CONTROL)

    @property
    def title(self) -> str:
        """Short name within a transfer direction.

        It is the transfer's name for an oracle, the experiment's for a tuned method, and otherwise the adaptation's.
        """
        if sees_target_labels(self.transfer):
            return self.transfer
        return self.adaptation if self.experiment == PLAIN else self.experiment

    @property
    def name(self) -> str:
        """Name that is unique within a study, and stays the same whatever else the study contains.

        It is the title (`oracle` for the usual oracle), followed by the transfer unless that is the usual one.
        """
        title = "oracle" if self.title == USUAL[1] else self.title
        return title if self.transfer in (*USUAL, title) else f"{title}-{self.transfer}"


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
    seeds: tuple[Seed, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        _require_distinct("filters", self.filters)
        _require_distinct("seeds", self.seeds)
        # Stages, tables and figures know a method by its name.
        _require_distinct("methods", (method.name for method in self.methods))
        # A search writes its result to a file named after the method.
        _require_distinct("tune", (search.adaptation for search in self.tune))
        return self

    def cells(self) -> list[Cell]:
        """Return all cells, in the order of the lists."""
        return [
            Cell(filters, method, seed)
            for filters in self.filters
            for method in self.methods
            for seed in self.seeds
        ]


def _require_distinct(name: str, values: Iterable[object]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{name}: {value} is listed twice, which would be trained twice")
        seen.add(value)


@dataclass(frozen=True)
class Cell:
    """A cell of the study: one training and its evaluation."""

    filters: str
    method: Method
    seed: int

    @classmethod
    def at(cls, folder: str) -> Self | None:
        """Return the cell with this output folder, named below outputs/; None if it is no cell's."""
        found = re.fullmatch(r"cells/(\w+)/(\w+)/(\w+)/(\w+)/seed(\d+)", folder, re.ASCII)
        if not found:
            return None
        filters, transfer, adaptation, experiment, seed = found.groups()
        return cls(
            filters, Method(transfer=transfer, adaptation=adaptation, experiment=experiment), int(seed)
        )

    @property
    def name(self) -> str:
        """Name of its stages, for instance `three-mmd-s0` in ``train@three-mmd-s0``."""
        return f"{self.filters}-{self.method.name}-s{self.seed}"

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
    study = _read(path)
    if study.trainer == AUTO:
        raise UserError(
            f"{path}: found trainer: {AUTO}, expected one trainer for all cells, on whatever machine they run.\n"
            f"Write trainer: {trainer_of_this_machine()}, which suits this one, as `mergershift study use` does."
        )
    return study


def _read(path: Path) -> Study:
    conf = root() / "conf"
    text = sound_yaml(path, REMEDY)
    try:
        content = YAML(typ="safe").load(text)  # as DVC reads it
    except (YAMLError, ValueError) as error:
        raise damaged(path, f"not YAML ({' '.join(str(error).split())})", REMEDY) from error
    if content is None:
        raise damaged(path, "empty", REMEDY)
    study = checked(path, content, Study, REMEDY)
    groups = ("network", "training", "trainer", "split", "selection")
    named = [
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
    ]
    for group, name in named:
        if not (conf / group / f"{name}.yaml").is_file():
            known = sorted(option.stem for option in (conf / group).glob("*.yaml"))
            raise UserError(f"{path}: conf/{group}/ has no '{name}'.\nChoose one of: {', '.join(known)}.")
    check_files(conf, named)
    return study


def study_names() -> list[str]:
    """Return the names of the studies in conf/studies/."""
    return sorted(path.stem for path in (root() / "conf" / "studies").glob("*.yaml"))


def read_named_study(name: str) -> Study:
    """Read conf/studies/`name`.yaml; raises UserError if it, or a file in conf/ that it names, is not valid."""
    if name not in study_names():
        raise UserError(f"conf/studies/ has no '{name}'.\nNearest: {nearest(name, study_names())}.")
    return _read(named_file(name))


def named_file(name: str) -> Path:
    """Return the path of the study conf/studies/`name`.yaml."""
    return root() / "conf" / "studies" / f"{name}.yaml"
