"""The records that trainings and evaluations write: their contents, and how they are read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mergershift.archive import Origin
from mergershift.config import SplitConfig
from mergershift.core.errors import UserError, first_line
from mergershift.core.files import write_text

STARTED_FROM = ("resumed.training", "resumed.from", "initialised.training", "initialised.from")
"""Tags of a training that did not start anew: id and name of the training, or of the model, that it started from."""
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
_Id = Annotated[str, Field(pattern=r"^[\w.-]+$")]
_TRAIN_AGAIN = "Train and evaluate again to replace it."


class DamagedRecord(UserError):
    """A file of a training is missing, damaged or not a record of this format."""


class _Record(BaseModel):
    """A JSON file with a format number, to be raised with every change that an older reader would misread.

    DVC does not know these formats: after such a change, `mergershift repro --force` makes the files anew.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1

    def write(self, path: Path) -> None:
        """Write the record as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; raises DamagedRecord if the file is missing, damaged or not such a record."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DamagedRecord(
                f"{path}: cannot be read ({type(error).__name__}).\n{_TRAIN_AGAIN}"
            ) from error
        try:
            record = cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "content"
            raise damaged(path, f"{where}: {problem['msg']}") from error
        if "format" not in record.model_fields_set:
            raise damaged(path, "format: missing, expected 1")
        return record


def damaged(path: Path, why: str) -> DamagedRecord:
    """The error for a file whose content no training of this version of mergershift writes."""
    return DamagedRecord(
        f"{path}: not a record of a training by this version of mergershift ({why}).\n"
        "Move it elsewhere, or train and evaluate again to replace it."
    )


class Trained(BaseModel):
    """Inputs and outcome of a finished training."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    cell: str
    """Name of the cell's folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    data_hash: str
    provenance: Origin
    reading: dict[str, str] = {}
    """How the channels and galaxies of the archive's files were identified when its images were prepared."""
    split: SplitConfig
    config_hash: str
    git_commit: str | None
    git_dirty: bool
    epochs: int
    """Number of epochs trained."""
    best_epoch: int
    best_score: float
    """Score of the best epoch, by the metric that `training.keep_best` names."""


class RunRecord(_Record):
    """run.json: content of the MLflow run, and for a training its inputs and outcome. Times are milliseconds."""

    run_id: str | None
    """MLflow's id of the run; None until a server has answered."""
    experiment: str = Field(min_length=1)
    name: str
    training: _Id
    """Id of the training, by which its run is found on any server."""
    parent: _Id | None
    """Id of the search that this trial belongs to."""
    tags: dict[str, str]
    status: RunStatus
    metrics: dict[str, float]
    started: int | None
    ended: int
    epoch_times: dict[int, int]
    """Time at which each epoch was logged, as far as it is known."""
    trained: Trained | None = None
    """Inputs and outcome of a training; None for a search and its trials."""


class Selection(_Record):
    """selection.json: the epoch and threshold that were chosen, and those that the oracle chose."""

    training: str
    """Id of the training that was evaluated."""
    validator: str
    """The validator that chose the epoch."""
    best_by: str
    """The validator that was named beforehand to compare methods."""
    threshold_rule: str
    epoch: int
    threshold: float
    oracle_epoch: int
    oracle_threshold: float


@dataclass(frozen=True)
class RunSpec:
    """What an MLflow run is created from."""

    training: str
    """Id of the training."""
    experiment: str
    name: str
    config: Mapping[str, Any]
    """Plain dictionaries, lists and scalars, which become the run's parameters and its file config.yaml."""
    tags: Mapping[str, str | None]
    """Tags of the run; those that are None are left out."""
    parent: str | None = None
    """Id of the search that this trial belongs to."""
    started: int | None = None
    """Start time in milliseconds since 1970; if None, the current time is used."""


@dataclass(frozen=True)
class RunContent:
    """The whole content of the MLflow run of a finished training. Times are milliseconds since 1970."""

    spec: RunSpec
    status: RunStatus
    ended: int
    epochs: Sequence[Mapping[str, float]]
    epoch_times: Mapping[int, int]
    """Time at which each epoch was logged, as far as it is known."""
    metrics: Mapping[str, tuple[float, int]]
    """Final metrics, each with the time at which it was computed."""
    files: Mapping[str, bytes]
    """Contents of the files by their paths within the run."""


def decode_error(path: Path, error: Exception) -> DamagedRecord:
    """The error for a file of a training that cannot be parsed."""
    return DamagedRecord(f"{path}: cannot be read ({first_line(error)}).\n{_TRAIN_AGAIN}")
