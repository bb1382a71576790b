"""The training that is registered: the study's best one, or one that is named.

Neither PyTorch nor MLflow is imported here, so that a mistake is reported before they are.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """Finished and evaluated trainings that make up a model, the best one first, and what they were chosen from."""

    trainings: tuple[FinishedTraining, ...]
    among: str


def choose(config: Config, cells: Sequence[Path] = (), *, ensemble: bool = False) -> Choice:
    """Return the trainings in the folders `cells`, or else the study's best for the filters and domains of `config`.

    That is, among the seeds of the method that outputs/summary/best.json names, the one whose chosen epoch has the
    highest score by the same validator; for an ensemble, all of these seeds. No target label is used.

    Raises UserError if there is none, if one has not been evaluated, if one is an oracle and the name of the model
    does not say so, or if the members of an ensemble differ in more than their seeds.
    """
    if cells:
        trainings = tuple(FinishedTraining.read(cell.resolve()) for cell in cells)
        choice = Choice(trainings, "no others: named by hand")
    else:
        choice = _best(config, ensemble=ensemble)
    name = config.tracking.model
    for training in choice.trainings:
        if training.config.is_oracle and not sees_target_labels(name):
            raise UserError(
                f"{training.name}: trained or tuned with labels of the target.\n"
                f"Register it under a name that marks it as an oracle: tracking.model={ORACLE_PREFIX}{name}."
            )
        if training.config.training.normalisation == "each_domain":
            raise UserError(
                f"{training.name}: normalised with the mean of all images, those of the test included "
                "(training.normalisation), for comparison with published figures only.\n"
                "Register a training with training.normalisation=labelled_training."
            )
        _ = training.selection  # raises the error of a training without an evaluation
    if ensemble:
        _require_alike(choice.trainings)
    return choice


def _require_alike(trainings: Sequence[FinishedTraining]) -> None:
    """Raise UserError unless the trainings can be members of one ensemble."""
    first = trainings[0]
    if len(trainings) == 1:
        raise UserError(
            f"{first.name}: an ensemble needs at least two trainings, and the study has one of this method.\n"
            "Add seeds to conf/study.yaml, or name trainings with several --cell."
        )
    for number, other in enumerate(trainings[1:], 1):
        if other.record.training in [earlier.record.training for earlier in trainings[:number]]:
            raise UserError(f"{other.name}: named twice.\nName trainings of different seeds.")
        fault = _difference(first, other)
        if fault:
            raise UserError(
                f"{other.name}: differs from {first.name} in {fault}; members of an ensemble may differ in the seed.\n"
                "Name trainings of one method, data set and selection."
            )


def _difference(first: FinishedTraining, other: FinishedTraining) -> str:
    seed = {"seed": first.config.seed}
    parts = {
        "its images": (first.trained.data_hash, other.trained.data_hash),
        "its configuration": (first.config.digest(), other.config.model_copy(update=seed).digest()),
        "the rule for the threshold": (first.selection.threshold_rule, other.selection.threshold_rule),
        "the validator": (first.selection.validator, other.selection.validator),
    }
    return next((name for name, (ours, theirs) in parts.items() if ours != theirs), "")


def _best(config: Config, *, ensemble: bool) -> Choice:
    """Find the study's best training for these filters and domains, or all seeds of its method, the best first."""
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
    ranked = tuple(sorted(trainings, key=lambda training: training.score(validator), reverse=True))
    if ensemble:
        among = f"{counted(methods, 'method')} by the mean of {validator} over seeds; all {counted(seeds, 'seed')}"
        return Choice(ranked, f"{among} of the method are members")
    return Choice(
        ranked[:1],
        f"{counted(methods, 'method')} by the mean of {validator} over seeds, then {counted(seeds, 'seed')} "
        "by the same validator, on validation images",
    )
