"""The records that trainings and evaluations write: their contents, and how they are read and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from mergershift.archive import Origin
from mergershift.config import LabelFree, SplitConfig
from mergershift.core.files import write_text
from mergershift.core.reading import damaged, read_json

STARTED_FROM = ("resumed.training", "resumed.from", "initialised.training", "initialised.from")
"""Tags of a training that did not start anew: id and name of the training, or of the model, that it started from."""
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
VARIED = "varied"
"""Tag with the settings that differ from what the chosen files in conf/ compose to, as a JSON object."""
_Id = Annotated[str, Field(pattern=r"^[\w.-]+$")]
_Epoch = Annotated[int, Field(ge=0)]
_Threshold = Annotated[float, Field(ge=0, le=1)]
_REMEDY = (
    "Move it elsewhere if another version of mergershift wrote it, or train and evaluate again to replace it."
)


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
        """Read what `write` wrote; raises DamagedFile if the file is missing, damaged or not such a record."""
        record = read_json(path, cls, _REMEDY, strict=True)
        if "format" not in record.model_fields_set:
            raise damaged(path, "format: missing, expected 1", _REMEDY)
        return record


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
    epochs: int = Field(ge=1)
    """Number of epochs trained."""
    best_epoch: _Epoch
    best_score: float
    """Score of the best epoch, by the metric that `training.keep_best` names."""


class RunRecord(_Record):
    """run.json: content of the MLflow run, and for a training its inputs and outcome. Times are milliseconds."""

    run_id: str | None
    """MLflow's id of the run; None until a server has answered."""
    experiment_id: str | None = None
    """MLflow's id of the run's experiment; None until a server has answered, and in records of earlier versions."""
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
    system: dict[int, dict[str, float]] = {}
    """Load of the machine during each epoch, as far as it was recorded."""
    trained: Trained | None = None
    """Inputs and outcome of a training; None for a search and its trials."""


def data_tags(data_hash: str, origin: Origin) -> dict[str, str]:
    """Return the tags of a training, trial or search about the images that it used."""
    tags = {"data_hash": data_hash, "data_kind": origin.kind}
    return tags if origin.seed is None else {**tags, "data_seed": str(origin.seed)}


class Selection(_Record):
    """selection.json: the epoch and threshold that were chosen, and those that the oracle chose."""

    training: str
    """Id of the training that was evaluated."""
    validator: str
    """The validator that chose the epoch."""
    best_by: LabelFree
    """The validator that was named beforehand to compare methods."""
    threshold_rule: str
    epoch: _Epoch
    threshold: _Threshold
    oracle_epoch: _Epoch
    oracle_threshold: _Threshold


class Shift(_Record):
    """shift.json: the shift between the domains in the features of a classifier.

    The classifier is the one that was chosen without target labels, and the images are validation images, as
    `classifier.feature_shift` describes.
    """

    training: str
    """Id of the training that was evaluated."""
    mmd: float
    """Squared maximum mean discrepancy; NaN if it is undefined."""
    proxy_a: float
    """Proxy A-distance; NaN if it is undefined."""
    source: list[list[float]]
    """Coordinates `(N, D)` of the source's images along the leading principal components of both domains together."""
    target: list[list[float]]
    """Coordinates `(N, D)` of the target's images."""
    explained: list[float]
    """Fraction `(D,)` of the joint variance along each component."""


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
    study: str | None = None
    """Id of the study's own run, if a study (`summary_files.StudyTrainings`) contains the training."""


@dataclass(frozen=True)
class RunModel:
    """The classifier of the epoch that the evaluation of a training chose."""

    epoch: int
    evaluation: str
    """Digest of the evaluation: after another one, the run has another model, even of the same epoch."""
    files: Mapping[str, Path]
    """Its files by their names in the model's folder."""


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
    model: RunModel | None = None
    """None before the evaluation, or where the files of the classifier are missing."""
    withdrawn: Collection[str] = ()
    """Names of metrics that the run may have from an earlier time and that no longer hold."""
