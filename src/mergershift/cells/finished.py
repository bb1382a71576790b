"""A finished training and its evaluation, read from the folder of their cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from mergershift import evaluation
from mergershift.cells.layout import (
    CONFIG,
    EPOCHS,
    EVALUATED,
    PREDICTIONS,
    RUN,
    SELECTION,
    SHIFT,
    TRAINED,
    VALIDATORS,
    cell_name,
    model_epochs,
    model_file,
)
from mergershift.cells.records import RunRecord, Selection, Shift, Trained
from mergershift.config import Config
from mergershift.core.checkout import shown
from mergershift.core.errors import UserError
from mergershift.core.forked import forked
from mergershift.core.reading import Columns, DamagedFile, damaged, read_csv
from mergershift.evaluation import JUDGED, ORACLE, Results

_FIRST_VALIDATORS = ("source_validation_risk", "target_entropy", "information_maximisation",
                     "soft_neighbourhood_density", "importance_weighted_risk")  # fmt: skip
"""Validators that evaluations of every version have scores of."""
TRAIN_AGAIN = "Train and evaluate again to replace it."


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
                f"Train it first with `mergershift train --output {shown(folder)}`, or run the pipeline with "
                "`mergershift repro`."
            )
        record = RunRecord.read(path)
        if record.trained is None:
            raise damaged(path, "trained: missing", TRAIN_AGAIN)
        return cls(folder, record, Config.read(folder / TRAINED / CONFIG))

    @classmethod
    def read_all(cls, folders: Sequence[Path]) -> list[Self]:
        """Read the finished trainings of many cells with all that the page shows of them, in several processes."""
        return list(forked([partial(cls._read_whole, folder) for folder in folders]))

    @classmethod
    def _read_whole(cls, folder: Path) -> Self:
        training = cls.read(folder)
        training.load()
        training.load("shift", "target")
        return training

    def load(self, *names: str) -> None:
        """Read now what is otherwise read on first access: what `names` say, or all that the summary uses."""
        for name in names or ("selection", "epochs", "validators", "results"):
            getattr(self, name)

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
        return read_epochs(self.folder / TRAINED / EPOCHS, self.trained)

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
        return f"Evaluate the training again with `mergershift evaluate {shown(self.folder)}`."

    @cached_property
    def selection(self) -> Selection:
        """Epochs and thresholds that the evaluation of this training chose."""
        path = self.folder / EVALUATED / SELECTION
        if not path.is_file():
            raise UserError(
                f"{path}: missing, so this training has not been evaluated.\n"
                f"Evaluate it first with `mergershift evaluate {shown(self.folder)}`, or run the pipeline with "
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
        scores = read_validators(path, self._evaluate_again)
        chosen = scores["epoch"] == self.selection.epoch
        if chosen.sum() != 1:
            fault = f"epoch {self.selection.epoch}, which was chosen, is in {chosen.sum()} rows, expected one"
            raise damaged(path, fault, self._evaluate_again)
        return scores.assign(chosen=chosen)

    @cached_property
    def shift(self) -> Shift | None:
        """Shift between the domains in the classifier's features; None in an evaluation of an earlier version."""
        path = self.folder / EVALUATED / SHIFT
        if not path.is_file():
            return None
        shift = Shift.read(path)
        if shift.training != self.record.training:
            fault = f"belongs to a training other than the one in {self.folder / TRAINED}"
            raise damaged(path, fault, self._evaluate_again)
        return shift

    @cached_property
    def judged(self) -> pd.DataFrame:
        """Like `validators`, with the scores on the half of the validation galaxies that no epoch was chosen on.

        An evaluation of an earlier version has one score for all validation galaxies, which takes its place.
        """
        scores = self.validators
        known = {name: name.removesuffix(JUDGED) for name in map(str, scores) if name.endswith(JUDGED)}
        return (
            scores
            if not known
            else scores.drop(columns=known.values(), errors="ignore").rename(columns=known)
        )

    def score(self, validator: str) -> float:
        """Score of the chosen epoch by a validator, on the judging half; raises UserError if the table has none."""
        chosen = self.judged[self.judged["chosen"]]
        if validator not in chosen:
            path = self.folder / EVALUATED / VALIDATORS
            raise damaged(path, f"no column {validator}", self._evaluate_again)
        return float(chosen[validator].iloc[0])

    def test_predictions(self, choice: str) -> pd.DataFrame:
        """Read the predictions on all test rows with the epoch that was chosen by "label_free" or "oracle"."""
        path = self.folder / EVALUATED / PREDICTIONS[choice]
        same_rows = not self.trained.split.independent_domains
        return read_test_predictions(path, self._evaluate_again, same_rows=same_rows)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of the label-free choice on the test rows of both domains, each rendering once."""
        return evaluation.unique_renderings(self.test_predictions("label_free")).reset_index(drop=True)

    @cached_property
    def target(self) -> pd.DataFrame:
        """Predictions of the label-free choice on the target's test rows, each rendering once, ordered by row."""
        predictions = self.predictions
        return predictions[predictions["role"] == "target"].sort_values("row", ignore_index=True)

    @cached_property
    def results(self) -> Results:
        """Metrics on the test rows."""
        return evaluation.read_results(self.folder / EVALUATED)


def read_epochs(path: Path, trained: Trained | None) -> pd.DataFrame:
    """Read the metrics of each epoch; only a search, or a trial, may have none."""
    if trained is None and not path.exists():
        return pd.DataFrame()
    table = read_csv(path, {"epoch": int}, TRAIN_AGAIN, others=float, rows=int(trained is not None))
    if trained is not None and len(table) != trained.epochs:
        fault = f"{len(table)} rows, expected one for each of the {trained.epochs} epochs in {RUN}"
        raise damaged(path, fault, TRAIN_AGAIN)
    return table


def read_validators(path: Path, remedy: str) -> pd.DataFrame:
    """Read the score of each kept epoch by each validator; raises DamagedFile, with `remedy`, if it is damaged."""
    columns: Columns = {"epoch": int, **dict.fromkeys([*_FIRST_VALIDATORS, ORACLE], float)}
    return read_csv(path, columns, remedy, others=float)


def read_test_predictions(path: Path, remedy: str, *, same_rows: bool) -> pd.DataFrame:
    """Read test predictions, which have to be of the same rows in both domains if `same_rows`."""
    predictions = evaluation.read_predictions(path)
    if not same_rows:
        return predictions
    of_role, row = (predictions[name].to_numpy() for name in ("role", "row"))
    rows = [np.sort(row[of_role == role]) for role in evaluation.ROLES]  # which occur only once in a role
    if not np.array_equal(rows[0], rows[1]):
        numbers = " and ".join(str(len(found)) for found in rows)
        raise damaged(
            path, f"source and target have different test rows ({numbers}), expected the same", remedy
        )
    return predictions
