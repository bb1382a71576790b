"""The records that a training leaves: what they hold, how they are written, read and checked."""

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

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
_Id = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class DamagedRecord(UserError):
    """A file of a training is missing, damaged or of something else."""


class _Record(BaseModel):
    """A JSON file with its format number, which a change that an older reader would misread raises."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    format: Literal[1] = 1

    def write(self, path: Path) -> None:
        """Write the record as JSON, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote; raises DamagedRecord where it is missing, damaged or of something else."""
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DamagedRecord(
                f"{path}: cannot be read ({type(error).__name__}).\nTrain and evaluate again to have it written anew."
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
    """The error for a file that is not what a training leaves."""
    return DamagedRecord(
        f"{path}: not of a training by this version of mergershift ({why}).\n"
        "Move it elsewhere, or train and evaluate again to have it written anew."
    )


class Trained(BaseModel):
    """What a finished training was made of and what came of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    cell: str
    """Name by its folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    data_hash: str
    provenance: Origin
    split: SplitConfig
    config_hash: str
    git_commit: str | None
    git_dirty: bool
    epochs: int
    """Number of epochs trained."""
    best_epoch: int
    best_score: float
    """Of the best epoch, by the configuration's `training.keep_best`."""


class RunRecord(_Record):
    """run.json: what its MLflow run is made of, and for a training what it was made of. Times are milliseconds."""

    run_id: str | None
    """MLflow's id; None as long as no server has answered."""
    experiment: str = Field(min_length=1)
    name: str
    training: _Id
    """The training's own id, by which its run is found on any server."""
    parent: _Id | None
    """Id of the search that this trial is part of."""
    tags: dict[str, str]
    status: RunStatus
    metrics: dict[str, float]
    started: int | None
    ended: int
    epoch_times: dict[int, int]
    """When each epoch was made, where that is known."""
    trained: Trained | None = None
    """None for a search and its trials."""


class Selection(_Record):
    """selection.json: which epoch and threshold were taken, and which an oracle would have taken."""

    training: str
    """Id of the training that was evaluated."""
    validator: str
    """What chose the epoch."""
    best_by: str
    """The validator named beforehand to compare methods by."""
    threshold_rule: str
    epoch: int
    threshold: float
    oracle_epoch: int
    oracle_threshold: float


@dataclass(frozen=True)
class RunSpec:
    """What an MLflow run is made with."""

    training: str
    """The training's own id."""
    experiment: str
    name: str
    config: Mapping[str, Any]
    """Plain dictionaries, lists and scalars: the run's parameters, and its file config.yaml."""
    tags: Mapping[str, str | None]
    """Those that are None are left out."""
    parent: str | None = None
    """Id of the search that this trial is part of."""
    started: int | None = None
    """When it began, in milliseconds since 1970; now where that is not known."""


@dataclass(frozen=True)
class RunContent:
    """All that the run of a finished training holds. Times are milliseconds since 1970."""

    spec: RunSpec
    status: RunStatus
    ended: int
    epochs: Sequence[Mapping[str, float]]
    epoch_times: Mapping[int, int]
    """When each epoch was made, where that is known."""
    metrics: Mapping[str, tuple[float, int]]
    """Final figures, each with the time it was made."""
    files: Mapping[str, bytes]
    """By their paths in the run."""


def decode_error(path: Path, error: Exception) -> DamagedRecord:
    """The error for a file of a training that does not parse."""
    return DamagedRecord(
        f"{path}: cannot be read ({first_line(error)}).\nTrain and evaluate again to have it written anew."
    )
