"""What the folders of a finished training tell of it, so that its MLflow run can be made from them alone.

A training's folder holds run.json and, where it has them, config.yaml, epochs.csv and a folder artifacts/ with
further files of the run. Beside a folder train/ lies evaluation/.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from mergershift.core.errors import UserError
from mergershift.core.files import CONFIG, RUN, SELECTION, VALIDATORS
from mergershift.evaluation import JSON_NAME, flat, read_results
from mergershift.tracking import Finished, Opening

EPOCHS, ARTIFACTS = "epochs.csv", "artifacts"
FIGURES = "figures"
EVALUATED = (SELECTION, VALIDATORS, JSON_NAME, "predictions.csv")
_Kind = TypeVar("_Kind", bound=BaseModel)
_Id = Annotated[str, Field(pattern=r"^[\w.-]+$")]


class Torn(UserError):
    """A file of a training is missing, torn or foreign."""


class Record(BaseModel):
    """What publishing needs of run.json; see `tracking.Run.record`."""

    training: _Id
    experiment: str = Field(min_length=1)
    name: str | None = None
    cell: str | None = None
    parent: _Id | None = None
    tags: dict[str, str] = {}
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED"
    metrics: dict[str, float] = {}
    started: int | None = None
    ended: int | None = None
    epoch_times: dict[int, int] = {}
    """These three in milliseconds since 1970."""


class Selection(BaseModel):
    """What publishing needs of an evaluation's selection.json."""

    training: str | None = None
    epoch: int


def training_files(folder: Path) -> dict[str, bytes]:
    """The files that the run of the training in `folder` holds, by their paths in the run."""
    files = {name: folder / name for name in (CONFIG, RUN) if (folder / name).is_file()}
    artifacts = folder / ARTIFACTS
    files |= {
        path.relative_to(artifacts).as_posix(): path
        for path in sorted(artifacts.rglob("*"))
        if path.is_file()
    }
    return {name: path.read_bytes() for name, path in files.items()}


def read(folder: Path) -> Finished:
    """Read the training in `folder`, with its evaluation; raises Torn where a file is missing, torn or foreign."""
    try:
        return _read(folder)
    except FileNotFoundError as error:
        raise Torn(
            f"{error.filename}: missing.\nTrain and evaluate again to have it written anew."
        ) from error


def _read(folder: Path) -> Finished:
    record = read_record(folder / RUN)
    ended = record.ended or _time(folder / RUN)
    metrics = {name: (value, ended) for name, value in record.metrics.items()}
    files = training_files(folder)
    evaluated = folder.parent / "evaluation"
    selection = _selection(evaluated / SELECTION) if folder.name == "train" else None
    # Else the evaluation is of a training before this one, that it has replaced.
    if selection is not None and selection.training == record.training:
        made = _time(evaluated / JSON_NAME)
        figures = _figures(evaluated) | {"selected_epoch": selection.epoch}
        metrics |= {name: (value, made) for name, value in figures.items()}
        files |= {name: (evaluated / name).read_bytes() for name in EVALUATED}
        files |= {f"{FIGURES}/{path.name}": path.read_bytes() for path in sorted(evaluated.glob("*.png"))}
    opening = Opening(
        training=record.training,
        experiment=record.experiment,
        name=record.name or record.cell or folder.name,
        config=_config(folder / CONFIG),
        tags=record.tags,
        parent=record.parent,
        started=record.started,
    )
    epochs = _epochs(folder / EPOCHS)
    return Finished(opening, record.status, ended, epochs, record.epoch_times, metrics, files)


def read_record(path: Path) -> Record:
    """Read a run.json; raises Torn where it is torn or foreign."""
    return _valid(Record, path)


def _selection(path: Path) -> Selection | None:
    return _valid(Selection, path) if path.is_file() else None


def _valid(kind: type[_Kind], path: Path) -> _Kind:
    try:
        return kind.model_validate(_json(path))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise _foreign(path, f"{where}: {problem['msg']}") from error


def _foreign(path: Path, why: str) -> Torn:
    return Torn(
        f"{path}: not of a training ({why}).\nMove it elsewhere, or train again to have it written anew."
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Torn(
            f"{path}: not JSON ({error}).\nTrain and evaluate again to have it written anew."
        ) from error


def _figures(evaluated: Path) -> dict[str, float]:
    try:
        return flat(read_results(evaluated))
    except UserError as error:
        raise Torn(str(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise _foreign(
            evaluated / JSON_NAME, f"no metrics of an evaluation, {type(error).__name__}"
        ) from error


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise Torn(f"{path}: not YAML.\nTrain again to have it written anew.") from error
    if not isinstance(config, dict):
        raise _foreign(path, "no mapping")
    return config


def _epochs(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="") as file:
            table = [
                {name: float(value or "nan") for name, value in row.items()}
                for row in csv.DictReader(file, restval="missing")
            ]
        if not all(row["epoch"].is_integer() for row in table):
            raise ValueError("an epoch is no integer")
    except (KeyError, TypeError, ValueError) as error:
        raise Torn(
            f"{path}: not a table of epochs ({error}).\nTrain again to have it written anew."
        ) from error
    return table


def _time(path: Path) -> int:
    return int(path.stat().st_mtime * 1000)
