"""A finished training and its evaluation, as their folder holds them."""

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
"""Files of an evaluation that its run holds."""


@dataclass(frozen=True, eq=False)
class FinishedTraining:
    """A training in `folder` with its record and configuration; its evaluation is read when it is asked for.

    Whatever is missing, damaged or of another training raises UserError.
    """

    folder: Path
    """Of the cell."""
    record: RunRecord
    config: Config

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the finished training of the cell in `folder`."""
        path = folder / TRAINED / RUN
        if not path.is_file():
            raise DamagedRecord(
                f"{path}: missing, so no finished training.\nTrain first: `mergershift train --output {folder}`, "
                "or run the pipeline with `mergershift repro`."
            )
        record = RunRecord.read(path)
        if record.trained is None:
            raise damaged(path, "trained: missing")
        return cls(folder, record, Config.read(folder / TRAINED / CONFIG))

    @property
    def name(self) -> str:
        """Name of the cell by its folder."""
        return cell_name(self.folder.resolve())

    @property
    def trained(self) -> Trained:
        """What the training was made of and what came of it."""
        assert self.record.trained is not None, "read() refuses a record without"
        return self.record.trained

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """Figures of each epoch."""
        path = self.folder / TRAINED / EPOCHS
        with _reading(path):
            return pd.read_csv(path)

    @property
    def model_epochs(self) -> list[int]:
        """Epochs whose classifiers were kept."""
        return model_epochs(self.folder / TRAINED)

    def model_file(self, epoch: int) -> Path:
        """File of the classifier of an epoch."""
        return model_file(self.folder / TRAINED, epoch)

    def require_data(self, data_hash: str, prepared: Path) -> None:
        """Raise UserError where the training saw other images than those of this hash in the folder `prepared`."""
        if self.trained.data_hash != data_hash:
            raise UserError(
                f"{self.folder / TRAINED}: trained on other images than those in {prepared}.\n"
                "Train again, or run the pipeline with `mergershift repro`."
            )

    @cached_property
    def selection(self) -> Selection:
        """The choices made in the evaluation of this training."""
        path = self.folder / EVALUATED / SELECTION
        if not path.is_file():
            raise UserError(
                f"{path}: missing, so not evaluated.\nEvaluate it first: `mergershift evaluate {self.folder}`, "
                "or run the pipeline with `mergershift repro`."
            )
        selection = Selection.read(path)
        if selection.training != self.record.training:
            raise UserError(
                f"{path}: of another training than the one in {self.folder / TRAINED}.\n"
                f"Evaluate it again: `mergershift evaluate {self.folder}`."
            )
        return selection

    @cached_property
    def validators(self) -> pd.DataFrame:
        """Scores of each kept epoch by each validator; `chosen` marks the epoch that was taken."""
        path = self.folder / EVALUATED / VALIDATORS
        with _reading(path):
            scores = pd.read_csv(path)
            return scores.assign(chosen=scores["epoch"] == self.selection.epoch)

    def score(self, validator: str) -> float:
        """What a validator makes of the chosen epoch."""
        chosen = self.validators[self.validators["chosen"]]
        if len(chosen) != 1 or validator not in chosen:
            raise UserError(
                f"{self.folder / EVALUATED / VALIDATORS}: no score by {validator} of epoch {self.selection.epoch}.\n"
                f"Evaluate it again: `mergershift evaluate {self.folder}`."
            )
        return float(chosen[validator].iloc[0])

    def test_predictions(self, choice: str) -> pd.DataFrame:
        """Predictions on all test rows by the choice "label_free" or "oracle"."""
        return evaluation.read_predictions(self.folder / EVALUATED / PREDICTIONS[choice])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the label-free choice on both tests, each rendering once."""
        return evaluation.unique_renderings(self.test_predictions("label_free")).reset_index(drop=True)

    @property
    def target(self) -> pd.DataFrame:
        """Predictions on the target's test, each rendering once, by row."""
        predictions = self.predictions
        return predictions[predictions["role"] == "target"].sort_values("row", ignore_index=True)

    @cached_property
    def results(self) -> Results:
        """Figures on test galaxies."""
        return evaluation.read_results(self.folder / EVALUATED)


def run_files(trained: Path) -> dict[str, bytes]:
    """The files that the run of the training in the folder `trained` holds, by their paths in the run."""
    files = {name: trained / name for name in (CONFIG, RUN) if (trained / name).is_file()}
    artifacts = trained / ARTIFACTS
    paths = (path for path in sorted(artifacts.rglob("*")) if path.is_file())
    files |= {path.relative_to(artifacts).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in files.items()}


def run_content(trained: Path) -> RunContent:
    """What the MLflow run of the training, trial or search in the folder `trained` holds, with its evaluation.

    Raises DamagedRecord where a file is missing, damaged or of something else.
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
        # Else the evaluation is of a training before this one, which has replaced it.
        if selection.training == record.training:
            figures = _figures(evaluated) | {"selected_epoch": selection.epoch}
            made = int((evaluated / JSON_NAME).stat().st_mtime * 1000)
            metrics |= {name: (value, made) for name, value in figures.items()}
            with _reading(evaluated):
                files |= {name: (evaluated / name).read_bytes() for name in PUBLISHED}
                pictures = sorted(evaluated.glob("*.png"))
                files |= {f"{FIGURES}/{path.name}": path.read_bytes() for path in pictures}
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
        raise damaged(path, "no mapping")
    return config


def _figures(evaluated: Path) -> dict[str, float]:
    try:
        return evaluation.flat(evaluation.read_results(evaluated))
    except UserError as error:
        raise DamagedRecord(str(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise damaged(
            evaluated / JSON_NAME, f"no metrics of an evaluation, {type(error).__name__}"
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
            raise ValueError("an epoch is no integer")
    return table


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a missing, damaged or foreign file raises into a DamagedRecord."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise decode_error(path, error) from error
