"""A finished training and its evaluation, read from the folder of their cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

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
from mergershift.cells.records import RunContent, RunRecord, RunSpec, Selection, Trained
from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.core.reading import Columns, DamagedFile, damaged, read_csv
from mergershift.core.yaml_files import read_yaml
from mergershift.evaluation import JSON_NAME, ORACLE, Results

PUBLISHED = (SELECTION, VALIDATORS, JSON_NAME, PREDICTIONS["label_free"])
"""Files of an evaluation that are uploaded to the MLflow run of its training."""
_TRAIN_AGAIN = "Train and evaluate again to replace it."


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
        """Read the finished training of the cell in `folder`; raises DamagedFile if there is none."""
        path = folder / TRAINED / RUN
        if not path.is_file():
            raise DamagedFile(
                f"{path}: missing, so this cell has no finished training.\n"
                f"Train it first with `mergershift train --output {folder}`, or run the pipeline with "
                "`mergershift repro`."
            )
        record = RunRecord.read(path)
        if record.trained is None:
            raise damaged(path, "trained: missing", _TRAIN_AGAIN)
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
        return _epochs(self.folder / TRAINED / EPOCHS, self.trained)

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

    @property
    def _evaluate_again(self) -> str:
        return f"Evaluate the training again with `mergershift evaluate {self.folder}`."

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
                f"{self._evaluate_again}"
            )
        return selection

    @cached_property
    def validators(self) -> pd.DataFrame:
        """Score of each kept epoch by each validator; the column `chosen` marks the selected epoch."""
        path = self.folder / EVALUATED / VALIDATORS
        scores = _validators(path, self._evaluate_again)
        chosen = scores["epoch"] == self.selection.epoch
        if chosen.sum() != 1:
            fault = f"epoch {self.selection.epoch}, which was chosen, is in {chosen.sum()} rows, expected one"
            raise damaged(path, fault, self._evaluate_again)
        return scores.assign(chosen=chosen)

    def score(self, validator: str) -> float:
        """Score of the chosen epoch by a validator; raises UserError if the table has none."""
        chosen = self.validators[self.validators["chosen"]]
        if validator not in chosen:
            path = self.folder / EVALUATED / VALIDATORS
            raise damaged(path, f"no column {validator}", self._evaluate_again)
        return float(chosen[validator].iloc[0])

    def test_predictions(self, choice: str) -> pd.DataFrame:
        """Read the predictions on all test rows with the epoch that was chosen by "label_free" or "oracle"."""
        path = self.folder / EVALUATED / PREDICTIONS[choice]
        return _read_predictions(path, self._evaluate_again)

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
    return {name: _bytes(path) for name, path in files.items()}


def run_content(trained: Path) -> RunContent:
    """Collect the content of the MLflow run of the training, trial or search in the folder `trained`.

    It includes the evaluation if there is one. Raises DamagedFile where a file is missing, damaged or does not
    belong to the training.
    """
    record = RunRecord.read(trained / RUN)
    metrics = {name: (value, record.ended) for name, value in record.metrics.items()}
    files = run_files(trained)
    spec = RunSpec(
        training=record.training,
        experiment=record.experiment,
        name=record.name,
        config=_config(trained / CONFIG, record.trained),
        tags=record.tags,
        parent=record.parent,
        started=record.started,
    )
    evaluated = trained.parent / EVALUATED
    if trained.name == TRAINED and (evaluated / SELECTION).is_file():
        selection = Selection.read(evaluated / SELECTION)
        # Otherwise the evaluation belongs to an earlier training that this one has replaced.
        if selection.training == record.training:
            again = f"Evaluate the training again with `mergershift evaluate {trained.parent}`."
            _validators(evaluated / VALIDATORS, again)
            _read_predictions(evaluated / PREDICTIONS["label_free"], again)
            scores = evaluation.flat(evaluation.read_results(evaluated))
            evaluation_metrics = scores | {"selected_epoch": selection.epoch}
            evaluated_at = int((evaluated / JSON_NAME).stat().st_mtime * 1000)
            metrics |= {name: (value, evaluated_at) for name, value in evaluation_metrics.items()}
            files |= {name: _bytes(evaluated / name) for name in PUBLISHED}
            figures = sorted(evaluated.glob("*.png"))
            files |= {f"{FIGURES}/{path.name}": _bytes(path) for path in figures}
    table = _epochs(trained / EPOCHS, record.trained)
    epochs = [{str(name): float(value) for name, value in row.items()} for row in table.to_dict("records")]
    return RunContent(spec, record.status, record.ended, epochs, record.epoch_times, metrics, files)


def _epochs(path: Path, trained: Trained | None) -> pd.DataFrame:
    """Read the metrics of each epoch; only a search, or a trial, may have none."""
    if trained is None and not path.exists():
        return pd.DataFrame()
    table = read_csv(path, {"epoch": int}, _TRAIN_AGAIN, others=float, rows=int(trained is not None))
    if trained is not None and len(table) != trained.epochs:
        fault = f"{len(table)} rows, expected one for each of the {trained.epochs} epochs in {RUN}"
        raise damaged(path, fault, _TRAIN_AGAIN)
    return table


def _validators(path: Path, remedy: str) -> pd.DataFrame:
    columns: Columns = {"epoch": int, **dict.fromkeys([*evaluation.VALIDATORS, ORACLE], float)}
    return read_csv(path, columns, remedy, others=float)


def _read_predictions(path: Path, remedy: str) -> pd.DataFrame:
    """Read test predictions, which have to be of the same rows in both domains."""
    predictions = evaluation.read_predictions(path)
    rows = [set(predictions.loc[predictions["role"] == role, "row"]) for role in evaluation.ROLES]
    if rows[0] != rows[1]:
        numbers = " and ".join(str(len(found)) for found in rows)
        raise damaged(
            path, f"source and target have different test rows ({numbers}), expected the same", remedy
        )
    return predictions


def _config(path: Path, trained: Trained | None) -> dict[str, Any]:
    if trained is None and not path.exists():
        return {}
    return read_yaml(path, dict[str, Any], _TRAIN_AGAIN, written=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", _TRAIN_AGAIN) from error
