"""Callbacks that record the epochs of a training, save classifiers, and let a training be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from mergershift.classifier.classifier import Classifier

Epochs = list[dict[str, float]]
OnEpoch = Callable[[Epochs, Classifier], None]
"""Function called after every epoch with the metrics of all finished epochs, where "epoch" is an epoch's number, and
with the current classifier; an exception that it raises ends the training."""


class EpochHistory(pl.Callback):
    """Metrics of every finished epoch, stored in the checkpoint so that a resumed training has them all."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.epochs: Epochs = []
        self._on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Record the metrics of the epoch that has just ended."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": float(trainer.current_epoch), **metrics})
        self._on_epoch(self.epochs, pl_module.classifier)

    def state_dict(self) -> dict[str, Any]:
        """Return the history as plain numbers, which are loaded from a checkpoint without pickle."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history of the interrupted training."""
        self.epochs = list(state_dict["epochs"])


class Candidates(pl.Callback):
    """Saves the candidates among which a validator chooses later.

    They are `count` epochs spread evenly over the training, the last one included; `save` is called with the
    number of the epoch.
    """

    def __init__(self, epochs: int, count: int, save: Callable[[int], None]) -> None:
        self.chosen = {-(-epochs * part // count) - 1 for part in range(1, count + 1)}
        self._save = save

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch that has just ended, if it is a candidate."""
        if trainer.current_epoch in self.chosen:
            self._save(trainer.current_epoch)


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that survives an interruption.

    Without it, a training killed just after its patience had run out would train one more epoch when resumed.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score and the number of epochs without improvement, but keep the configured patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once if the patience had run out before the interruption."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class RandomBatchStopping(pl.Callback):
    """The stopping rule of the code released with DeepMerge II (arXiv:2103.01373).

    Before the first epoch and after every one, it takes the classification loss of 64 random validation images. A loss
    that exceeds the lowest one so far by at least 0.1, 0.2, 0.3 or 0.4 adds 0.1, 0.25, 0.5 or 1 to a counter, which
    nothing ever lowers; training stops once the counter exceeds the patience. The released code does so after the
    first step of an epoch instead of before it.
    """

    images = 64
    additions = ((0.4, 1.0), (0.3, 0.5), (0.2, 0.25), (0.1, 0.1))

    def __init__(self, patience: float) -> None:
        self.patience, self.counter, self.lowest = patience, 0.0, math.inf

    @property
    def ended(self) -> bool:
        """Whether training has to stop."""
        return self.counter > self.patience

    def add(self, loss: float) -> None:
        """Take the loss of another batch into account."""
        if loss < self.lowest:
            self.lowest = loss
        excess = loss - self.lowest
        self.counter += next((addition for least, addition in self.additions if excess >= least), 0.0)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the first loss; after an interruption, stop at once if the patience had run out before it."""
        if math.isinf(self.lowest):
            self.add(pl_module.loss_of_random_batch(self.images))
        trainer.should_stop = trainer.should_stop or self.ended

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Take the loss of the epoch that has just ended."""
        self.add(pl_module.loss_of_random_batch(self.images))
        trainer.should_stop = trainer.should_stop or self.ended

    def state_dict(self) -> dict[str, Any]:
        """Return what an interrupted training has to remember."""
        return {"counter": self.counter, "lowest": self.lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counter of the interrupted training."""
        self.counter, self.lowest = state_dict["counter"], state_dict["lowest"]


class Checkpoint(ModelCheckpoint):
    """A checkpoint under a fixed name that remembers its score even if its folder has moved.

    The folder moves when the project is renamed, or when a training is resumed inside instead of outside a
    container. Lightning would then forget the best score and overwrite the best epoch with a worse one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the score and the paths, translated to the current folder."""
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        moved = {
            key: _moved(value, before, now) for key, value in state_dict.items() if key != "best_k_models"
        }
        kept = {_moved(path, before, now): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(moved | {"best_k_models": kept})


def _moved(value: Any, before: str, now: str) -> Any:
    return now + value[len(before) :] if isinstance(value, str) and value.startswith(before) else value
