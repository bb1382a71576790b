"""A longer training that resumes a finished one after its last epoch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mergershift.adaptation.weighting import Weighting
from mergershift.cells.code_version import code_hash
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import CHECKPOINTS, RUN, TRAINED, model_epochs, model_file
from mergershift.config import Config, compose, instantiate
from mergershift.config.schema import StartConfig
from mergershift.core.checkout import shown
from mergershift.core.errors import UserError
from mergershift.core.reading import read_json
from mergershift.core.words import counted
from mergershift.images.locate import prepared_images
from mergershift.stages.start import IDENTITY, KeptCheckpoints, Start
from mergershift.tracking.find_training import find_training

RESUMABLE = ("training.epochs=", "training.patience=", "trainer=", "trainer.", "tracking=", "tracking.")
"""Beginnings of the overrides that a resumed training accepts."""
_log = logging.getLogger(__name__)


def resumed(run: str, overrides: Sequence[str]) -> tuple[Config, Start]:
    """Configure a training that makes a finished one longer.

    Its weights end as if it had had its number of epochs from the beginning, unless a schedule depends on that number:
    the learning rate of one_cycle then begins another cycle over the further epochs, and the penalty's weight goes on
    where it ended. Of the epochs before, it has the candidates that the finished training has kept, and not those
    that it would have kept itself.

    Args:
        run: folder or MLflow run id of the finished training.
        overrides: overrides of training.epochs, training.patience, trainer and tracking.

    Raises UserError if there is no such training or checkpoint, and for any other override.
    """
    for override in overrides:
        if not override.startswith(RESUMABLE):
            raise UserError(
                f"'{override}' would change the training that --resume continues: expected overrides of "
                "training.epochs, training.patience, trainer and tracking only.\n"
                f"To change anything else, start from its weights: --init {run}."
            )
    parent = find_training(run)
    config = _longer(parent, overrides)
    _require_longer(parent, config)
    checkpoints = _checkpoints(parent)
    prepared = prepared_images(config)
    parent.require_data(prepared.facts["data_hash"], prepared.folder)
    if ended := _ended_schedules(parent):
        _log.warning(
            "%s: in the %d further epochs, %s; a training of %d epochs from the beginning would have had other values.",
            parent.name,
            config.training.epochs - parent.trained.epochs,
            " and ".join(ended),
            config.training.epochs,
        )
    _warn_of_missing_candidates(parent, config)
    chosen = _candidates(parent.config)
    best = parent.trained.best_epoch
    dropped = model_file(Path(), best) if best not in chosen else None
    tags = {"resumed.training": parent.record.training, "resumed.from": parent.name}
    return config, Start(checkpoints, dropped, tags=tags)


def _candidates(config: Config) -> set[int]:
    from mergershift.training.callbacks import Candidates

    count = config.training.candidates
    return Candidates(config.training.epochs, count, lambda _: None).chosen if count else set()


def _warn_of_missing_candidates(parent: FinishedTraining, config: Config) -> None:
    kept = set(model_epochs(parent.folder / TRAINED))
    missing = sorted(epoch for epoch in _candidates(config) - kept if epoch < parent.trained.epochs)
    if missing:
        _log.warning(
            "%s: did not keep epochs %s, which a training of %d epochs keeps as candidates; the choice of the epoch "
            "can differ from that of such a training.",
            parent.name,
            ", ".join(map(str, missing)),
            config.training.epochs,
        )


def _ended_schedules(parent: FinishedTraining) -> list[str]:
    """List what has followed a schedule made for the number of epochs of the finished training."""
    settings, weighting = parent.config.training, parent.config.adaptation.weighting
    ended = []
    if settings.schedule == "one_cycle":
        ended.append("the learning rate (training.schedule=one_cycle) begins another cycle")
    if instantiate(weighting, Weighting).depends_on_progress:
        ended.append(
            f"the penalty's weight ({weighting['_target_'].rpartition('.')[2]}) goes on where it ended"
        )
    return ended


def _longer(parent: FinishedTraining, overrides: Sequence[str]) -> Config:
    """Return the configuration of `parent` with the overrides applied, and with what its schedules were made for."""
    composed = compose(overrides)
    before, start = parent.config.start, StartConfig(kind="resume", training=parent.record.training)
    if _ended_schedules(parent):
        scheduled = (before.scheduled if before else 0) or parent.config.training.epochs
        start = start.model_copy(update={"done": parent.trained.epochs, "scheduled": scheduled})
    given = {
        name for name in ("epochs", "patience") if any(o.startswith(f"training.{name}=") for o in overrides)
    }
    changes = {name: getattr(composed.training, name) for name in given}
    update = {
        "training": parent.config.training.model_copy(update=changes),
        "tracking": composed.tracking,
        "start": start,
    }
    groups = ["tracking"]
    if any(override.startswith("trainer") for override in overrides):
        update["trainer"] = composed.trainer
        groups.append("trainer")
    choices = parent.config.choices | {group: composed.choices[group] for group in groups}
    return parent.config.model_copy(update={**update, "choices": choices})


def _require_longer(parent: FinishedTraining, config: Config) -> None:
    where = shown(parent.folder)
    done, before, now = parent.trained.epochs, parent.config.training, config.training
    if now.epochs <= done:
        raise UserError(
            f"{where}: has {counted(done, 'epoch')}, found training.epochs={now.epochs}.\n"
            f"Give the number of epochs in total, for instance training.epochs={2 * done}."
        )
    if now.patience < before.patience:
        raise UserError(
            f"training.patience={now.patience}: {where} had a patience of {counted(before.patience, 'epoch')}.\n"
            "Give at least that: with less, it might have stopped earlier."
        )
    if done < before.epochs and now.patience == before.patience:
        raise UserError(
            f"{where}: stopped after {counted(done, 'epoch')} because its patience of {before.patience} had run out.\n"
            f"Give more, for instance training.patience={2 * before.patience}."
        )


def _checkpoints(parent: FinishedTraining) -> Path:
    from mergershift.training.fit import damaged

    folder = parent.folder / TRAINED / CHECKPOINTS
    remedy = f"Start from its weights with --init {parent.folder}, or train anew with more epochs."
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; trainings of the pipeline keep no checkpoint.\n{remedy}")
    kept = read_json(folder / IDENTITY, KeptCheckpoints, remedy)
    if kept.training != parent.record.training:
        raise UserError(
            f"{folder}: belongs to another training than {RUN} beside it.\nDelete it, and use --init instead."
        )
    problem = damaged(folder)
    if problem is not None:
        raise UserError(f"{problem}.\nStart from its weights with --init {parent.folder}.")
    if kept.code_hash != code_hash():
        _log.warning("%s: trained by other code than the present, with which it is continued", parent.name)
    return folder
