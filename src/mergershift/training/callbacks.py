"""Keeps the history of a training and tells it, epoch by epoch, to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from mergershift.classifier.classifier import Classifier

Epochs = list[dict[str, float]]
OnEpoch = Callable[[Epochs, Classifier], None]
"""Hears, after every epoch, the figures of all finished epochs, each with its number under "epoch", and the
classifier as it is now; an exception that it raises ends the training."""


class EpochHistory(pl.Callback):
    """Figures of every finished epoch; they travel in the checkpoint, so a resumed training has them all."""

    def __init__(self, on_epoch: OnEpoch) -> None:
        self.epochs: Epochs = []
        self._on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Record the epoch that has just ended."""
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": float(trainer.current_epoch), **figures})
        self._on_epoch(self.epochs, pl_module.classifier)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, which a checkpoint loads without pickle."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the history of the interrupted training."""
        self.epochs = list(state_dict["epochs"])


class Candidates(pl.Callback):
    """Hands over the epochs, evenly spread to the last, among which a validator may choose later."""

    def __init__(self, epochs: int, count: int, save: Callable[[int], None]) -> None:
        self.chosen = {-(-epochs * part // count) - 1 for part in range(1, count + 1)}
        self._save = save

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch that has just ended, if it is one of them."""
        if trainer.current_epoch in self.chosen:
            self._save(trainer.current_epoch)


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that a training killed just after its last epoch remembers, instead of adding an epoch."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where patience had run out before the interruption."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class Checkpoint(ModelCheckpoint):
    """One checkpoint under a fixed name, which remembers its score also when its folder has moved meanwhile.

    The folder moves when a project is renamed, or trains now inside and now outside a container; Lightning would
    then forget the best score and overwrite the best epoch with a worse one.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up score and paths, as if they had always been in today's folder."""
        before, now = str(state_dict["dirpath"]), str(self.dirpath)
        moved = {
            key: _moved(value, before, now) for key, value in state_dict.items() if key != "best_k_models"
        }
        kept = {_moved(path, before, now): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(moved | {"best_k_models": kept})


def _moved(value: Any, before: str, now: str) -> Any:
    return now + value[len(before) :] if isinstance(value, str) and value.startswith(before) else value
