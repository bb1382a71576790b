"""The entry point of every training: `train(config, ...) -> Result`."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file

from mergershift.cells.layout import EPOCHS, MODELS, model_epochs, model_file
from mergershift.classifier.classifier import Classifier, save_classifier
from mergershift.classifier.devices import require_devices
from mergershift.config import Config
from mergershift.core.errors import UserError, first_line
from mergershift.images import Prepared
from mergershift.training.callbacks import Epochs, OnEpoch
from mergershift.training.job import BEST, LAST, Fitted, Job, fit, mode
from mergershift.training.pretraining import pretrained
from mergershift.training.processes import processes

ADAPTED = "adapted"


@dataclass(frozen=True)
class Result:
    """The outcome of a training: classifiers of selected epochs and the history of all epochs."""

    classifier: Classifier
    """The classifier of the best epoch."""
    models: dict[int, Path]
    """Files of the classifiers by epoch: the best epoch and the candidates."""
    epochs: Epochs
    """Metrics of every epoch, by name; "epoch" is its number."""
    best_epoch: int
    best_score: float

    @property
    def table(self) -> pd.DataFrame:
        """The history as a table with one row per epoch."""
        return pd.DataFrame(self.epochs).astype({"epoch": int})

    def write(self, folder: Path) -> None:
        """Write the classifiers and epochs.csv into an existing folder."""
        for epoch, path in self.models.items():
            copy = model_file(folder, epoch)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
        self.table.to_csv(folder / EPOCHS, index=False)


def train(
    config: Config,
    prepared: Prepared,
    state: Path,
    on_epoch: OnEpoch = lambda epochs, classifier: None,
    initial: Path | None = None,
) -> Result:
    """Train until the last epoch, or until the metric on the labelled validation images stops improving.

    A training that was interrupted resumes after its last finished epoch, and ends exactly as it would have
    without the interruption.

    Args:
        config: configuration of the training.
        prepared: the prepared images of both domains.
        state: folder of the checkpoints; a training resumes from those that it contains.
        on_epoch: called after every epoch (`OnEpoch`); an exception that it raises ends the training.
        initial: file of the classifier with whose network the training starts, instead of with random weights or
            those of the pre-training. The stretch is fitted to the labelled training images, as in every training.

    Raises UserError if PyTorch does not find the GPUs that the configuration requires or if one of several processes
    ends before the training does, and Diverged if the network's outputs are NaN or infinite.
    """
    require_devices(config)
    state.mkdir(parents=True, exist_ok=True)
    (state / MODELS).mkdir(exist_ok=True)
    checkpoint = _sound_checkpoint(state)
    if config.pretraining is not None and initial is None and checkpoint is None:
        initial, _ = pretrained(config, prepared, state)
    job = Job(config, prepared, state, checkpoint, initial)
    with processes(job) as share:
        fitted = fit(job, share, on_epoch)
    best = torch.load(state / BEST, weights_only=True, map_location="cpu")
    fitted.task.load_state_dict(best["state_dict"])
    name = config.training.keep_best
    pick = min if mode(name) == "min" else max
    best_metrics = pick(fitted.epochs, key=lambda metrics: metrics[name])
    best_epoch = int(best_metrics["epoch"])
    if best["epoch"] != best_epoch:
        raise UserError(
            f"{state / BEST}: epoch {best['epoch']}, expected the best one, which is epoch {best_epoch}.\n"
            "The checkpoints are of different trainings: delete their folder, and train again."
        )
    classifier = fitted.classifier.cpu().eval()
    save_classifier(classifier, model_file(state, best_epoch))
    # The best epoch comes last: `_adapt` leaves `classifier` with the weights of the epoch it adapted.
    adapted = {
        epoch: _adapt(fitted, model_file(state, epoch), state / ADAPTED)
        for epoch in [*sorted({*model_epochs(state)} - {best_epoch}), best_epoch]
    }
    return Result(classifier, adapted, fitted.epochs, best_epoch, best_metrics[name])


def _adapt(fitted: Fitted, path: Path, folder: Path) -> Path:
    """Apply the method's `after_training` to the classifier in `path`; returns the file of the result in `folder`."""
    classifier = fitted.classifier
    classifier.load_state_dict(load_file(path))
    batches = (classifier.stretched(images) for images in fitted.data.target_batches())
    fitted.penalty.cpu().after_training(classifier.network, batches)
    folder.mkdir(exist_ok=True)
    save_classifier(classifier, folder / path.name)
    return folder / path.name


def _sound_checkpoint(state: Path) -> Path | None:
    """Return the checkpoint from which to resume, or None if there is none.

    If a kill or a full disk has damaged either of the two checkpoints, training restarts from the first epoch.
    """
    last = state / LAST
    if not last.is_file():
        return None
    problem = damaged(state)
    if problem is not None:
        logging.getLogger(__name__).warning("%s: training restarts from the first epoch", problem)
        last.unlink()
        return None
    return last


def damaged(state: Path) -> str | None:
    """Name the checkpoint in `state` that cannot be read, with the reason; None if both can be."""
    for path in (state / LAST, state / BEST):
        try:
            torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged file raises many kinds of exceptions
            return f"{path} cannot be read ({first_line(error)})"
    return None
