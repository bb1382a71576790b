"""A finished training and its evaluation, read from the folder of their cell."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd
import yaml

from mergershift import evaluation
from mergershift.cells.layout import (
    ARTIFACTS,
    CONFIG,
    EPOCHS,
    EVALUATED,
    FIGURES,
    PREDICTIONS,
    RUN,
    SELECTION,
    TRAINED,
    VALIDATORS,
    cell_name,
    model_epochs,
    model_file,
)
from mergershift.cells.records import (
    DamagedRecord,
    RunContent,
    RunRecord,
    RunSpec,
    Selection,
    Trained,
    damaged,
    decode_error,
)
from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.evaluation import JSON_NAME, Results

PUBLISHED = (SELECTION, VALIDATORS, JSON_NAME, PREDICTIONS["label_free"])
"""Files of an evaluation that are uploaded to the MLflow run of its training."""


@dataclass(frozen=True, eq=False)
class FinishedTraining:
    """A finished training with its record and configuration; its evaluation is read on first access.

    A file that is missing, damaged or belongs to another training raises UserError.
    """

    folder: Path
    """Folder of the cell."""
    record: RunRecord
    config: Config

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the finished training of the cell in `folder`; raises DamagedRecord if there is none."""
        path = folder / TRAINED / RUN
        if not path.is_file():
            raise DamagedRecord(
                f"{path}: missing, so this cell has no finished training.\n"
                f"Train it first with `mergershift train --output {folder}`, or run the pipeline with "
                "`mergershift repro`."
            )
        record = RunRecord.read(path)
        if record.trained is None:
            raise damaged(path, "trained: missing")
        return cls(folder, record, Config.read(folder / TRAINED / CONFIG))

    @property
    def name(self) -> str:
        """Name of the cell, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
        return cell_name(self.folder.resolve())

    @property
    def trained(self) -> Trained:
        """Inputs and outcome of the training."""
        assert self.record.trained is not None, "read() refuses a record without it"
        return self.record.trained

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Metrics of each epoch, one row per epoch."""
        path = self.folder / TRAINED / EPOCHS
        with _reading(path):
            return pd.read_csv(path)

    @property
    def model_epochs(self) -> list[int]:
        """Epochs whose classifiers were kept, in ascending order."""
        return model_epochs(self.folder / TRAINED)

    def model_file(self, epoch: int) -> Path:
        """Path of the classifier of an epoch."""
        return model_file(self.folder / TRAINED, epoch)

    def require_data(self, data_hash: str, prepared: Path) -> None:
        """Raise UserError unless the training used the images with this hash, which the folder `prepared` contains."""
        if self.trained.data_hash != data_hash:
            raise UserError(
                f"{self.folder / TRAINED}: trained on images other than those in {prepared}.\n"
                "Train again, or run the pipeline with `mergershift repro`."
            )

    @cached_property
    def selection(self) -> Selection:
        """Epochs and thresholds that the evaluation of this training chose."""
        path = self.folder / EVALUATED / SELECTION
        if not path.is_file():
            raise UserError(
                f"{path}: missing, so this training has not been evaluated.\n"
                f"Evaluate it first with `mergershift evaluate {self.folder}`, or run the pipeline with "
                "`mergershift repro`."
            )
        selection = Selection.read(path)
        if selection.training != self.record.training:
            raise UserError(
                f"{path}: belongs to a training other than the one in {self.folder / TRAINED}.\n"
                f"Evaluate the training again with `mergershift evaluate {self.folder}`."
            )
        return selection

    @cached_property
    def validators(self) -> pd.DataFrame:
        """Score of each kept epoch by each validator; the column `chosen` marks the selected epoch."""
        path = self.folder / EVALUATED / VALIDATORS
        with _reading(path):
            scores = pd.read_csv(path)
            return scores.assign(chosen=scores["epoch"] == self.selection.epoch)

    def score(self, validator: str) -> float:
        """Score of the chosen epoch by a validator; raises UserError if the table has none."""
        chosen = self.validators[self.validators["chosen"]]
        if len(chosen) != 1 or validator not in chosen:
            raise UserError(
                f"{self.folder / EVALUATED / VALIDATORS}: no score by {validator} for epoch {self.selection.epoch}.\n"
                f"Evaluate the training again with `mergershift evaluate {self.folder}`."
            )
        return float(chosen[validator].iloc[0])

    def test_predictions(self, choice: str) -> pd.DataFrame:
        """Read the predictions on all test rows with the epoch that was chosen by "label_free" or "oracle"."""
        return evaluation.read_predictions(self.folder / EVALUATED / PREDICTIONS[choice])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the label-free choice on the test rows of both domains, each rendering once."""
        return evaluation.unique_renderings(self.test_predictions("label_free")).reset_index(drop=True)

    @property
    def target(self) -> pd.DataFrame:
        """Predictions of the label-free choice on the target's test rows, each rendering once, ordered by row."""
        predictions = self.predictions
        return predictions[predictions["role"] == "target"].sort_values("row", ignore_index=True)

    @cached_property
    def results(self) -> Results:
        """Metrics on the test rows."""
        return evaluation.read_results(self.folder / EVALUATED)


def run_files(trained: Path) -> dict[str, bytes]:
    """Read the files that belong into the MLflow run of the training in the folder `trained`.

    Returns their contents by their paths within the run.
    """
    files = {name: trained / name for name in (CONFIG, RUN) if (trained / name).is_file()}
    artifacts = trained / ARTIFACTS
    paths = (path for path in sorted(artifacts.rglob("*")) if path.is_file())
    files |= {path.relative_to(artifacts).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in files.items()}


def run_content(trained: Path) -> RunContent:
    """Collect the content of the MLflow run of the training, trial or search in the folder `trained`.

    It includes the evaluation if there is one. Raises DamagedRecord where a file is missing, damaged or does not
    belong to the training.
    """
    record = RunRecord.read(trained / RUN)
    metrics = {name: (value, record.ended) for name, value in record.metrics.items()}
    files = run_files(trained)
    spec = RunSpec(
        training=record.training,
        experiment=record.experiment,
        name=record.name,
        config=_config(trained / CONFIG),
        tags=record.tags,
        parent=record.parent,
        started=record.started,
    )
    evaluated = trained.parent / EVALUATED
    if trained.name == TRAINED and (evaluated / SELECTION).is_file():
        selection = Selection.read(evaluated / SELECTION)
        # Otherwise the evaluation belongs to an earlier training that this one has replaced.
        if selection.training == record.training:
            evaluation_metrics = _metrics(evaluated) | {"selected_epoch": selection.epoch}
            evaluated_at = int((evaluated / JSON_NAME).stat().st_mtime * 1000)
            metrics |= {name: (value, evaluated_at) for name, value in evaluation_metrics.items()}
            with _reading(evaluated):
                files |= {name: (evaluated / name).read_bytes() for name in PUBLISHED}
                figures = sorted(evaluated.glob("*.png"))
                files |= {f"{FIGURES}/{path.name}": path.read_bytes() for path in figures}
    epochs = _epochs(trained / EPOCHS)
    return RunContent(spec, record.status, record.ended, epochs, record.epoch_times, metrics, files)


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise decode_error(path, error) from error
    if not isinstance(config, dict):
        raise damaged(path, "not a mapping")
    return config


def _metrics(evaluated: Path) -> dict[str, float]:
    try:
        return evaluation.flat(evaluation.read_results(evaluated))
    except UserError as error:
        raise DamagedRecord(str(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(
            evaluated / JSON_NAME, f"contains no metrics of an evaluation, {type(error).__name__}"
        ) from error


def _epochs(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    with _reading(path), path.open(newline="") as file:
        table = [
            {name: float(value or "nan") for name, value in row.items()}
            for row in csv.DictReader(file, restval="missing")
        ]
        if not all(row["epoch"].is_integer() for row in table):
            raise ValueError("an epoch is not an integer")
    return table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise DamagedRecord in place of the errors that reading a missing or damaged file causes."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise decode_error(path, error) from error
