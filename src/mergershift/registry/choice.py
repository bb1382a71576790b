"""The training that is registered: the study's best one, or one that is named.

Neither PyTorch nor MLflow is imported here, so that a mistake is reported before they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import BEST, SUMMARY
from mergershift.cells.summary_files import read_best
from mergershift.config import Config
from mergershift.config.schema import ORACLE_PREFIX, sees_target_labels
from mergershift.config.study import read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.words import counted


@dataclass(frozen=True, eq=False)
class Choice:
    """A finished and evaluated training, and what it was chosen from."""

    training: FinishedTraining
    among: str


def choose(config: Config, cell: Path | None) -> Choice:
    """Return the training in the folder `cell`, or else the study's best one for the filters and domains of `config`.

    That is, among the seeds of the method that outputs/summary/best.json names, the one whose chosen epoch has the
    highest score by the same validator. No target label is used.

    Raises UserError if there is none, if it has not been evaluated, or if it is an oracle and the name of the model
    does not say so.
    """
    if cell is None:
        choice = _best(config)
    else:
        choice = Choice(FinishedTraining.read(cell.resolve()), "no others: named by hand")
    training, name = choice.training, config.tracking.model
    if training.config.is_oracle and not sees_target_labels(name):
        raise UserError(
            f"{training.name}: trained or tuned with labels of the target.\n"
            f"Register it under a name that marks it as an oracle: tracking.model={ORACLE_PREFIX}{name}."
        )
    _ = training.selection  # raises the error of a training without an evaluation
    return choice


def _best(config: Config) -> Choice:
    """Find the study's best training for these filters and domains."""
    path = root() / SUMMARY / BEST
    wanted = config.filters.name, str(config.transfer.source), str(config.transfer.target)
    remedy = "Run `mergershift repro` first, or name a training with --cell."
    settings = {(entry.filters, entry.source, entry.target): entry for entry in read_best(remedy)}
    entry = settings.get(wanted)
    if entry is None or entry.method is None:
        available = "; ".join(
            f"filters={filters} {source} to {target}" for filters, source, target in settings
        )
        raise UserError(
            f"{path}: no best method for filters={wanted[0]}, {wanted[1]} to {wanted[2]}.\n"
            f"It contains {available or 'none'}. Choose one of these with filters=... and transfer=..."
        )
    validator = entry.validator
    trainings = [
        FinishedTraining.read(root() / cell.folder)
        for cell in read_study().cells()
        if cell.filters == entry.filters and cell.method == entry.method
    ]
    if not trainings:
        raise UserError(f"{path}: its best method is no longer in the study.\nRun `mergershift repro`.")
    methods, seeds = len(entry.scores), len(trainings)
    return Choice(
        max(trainings, key=lambda training: training.score(validator)),
        f"{counted(methods, 'method')} by the mean of {validator} over seeds, then {counted(seeds, 'seed')} "
        "by the same validator, on validation images",
    )
