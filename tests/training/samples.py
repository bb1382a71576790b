"""Trainings of a few steps on a few images, whose every metric can be calculated by hand."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor

from mergershift.adaptation import Adaptation
from mergershift.classifier.classifier import build_classifier
from mergershift.config import Config, compose, instantiate
from mergershift.images import Prepared
from mergershift.networks import CLASSES, Activations
from mergershift.training.datamodule import TransferData
from mergershift.training.task import TransferTask

CONF = Path(__file__).parents[2] / "conf"
PLAIN = {
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.0},
    "schedule": "constant",
    "batch_size": 64,  # all of `write_prepared` in one step
    "augment": False,
    "stretch": "linear",
    "class_weights": "none",
    "training_rows": "all",
    "candidates": 0,
}
LIGHTER = 1000.0


@cache
def _default() -> Config:
    return compose(["filters=two", "trainer.threads=1"], CONF)


def config_of(
    network: dict[str, Any] | None = None,
    penalty: dict[str, Any] | None = None,
    weighting: dict[str, Any] | None = None,
    seed: int = 0,
    **training: Any,
) -> Config:
    """A training with one step per epoch, a learning rate of 0 and no optional parts, unless overridden."""
    default = _default()
    adaptation = {
        "penalty": penalty or default.adaptation.penalty,
        "weighting": weighting or default.adaptation.weighting,
    }
    return default.model_copy(
        update={
            "seed": seed,
            "network": network or {"_target_": "networks.samples.Brightness"},
            "adaptation": default.adaptation.model_copy(update=adaptation),
            "training": default.training.model_copy(update=PLAIN | training),
        }
    )


class Witness(Adaptation):
    """A constant penalty that remembers its inputs and, if `lighten` is set, adds `LIGHTER` to labelled images."""

    def __init__(self, uses_target: bool = True, lighten: bool = False) -> None:
        super().__init__()
        self.uses_target, self.lighten = uses_target, lighten
        self.seen: list[tuple[Activations, Activations, Tensor]] = []

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        return images + LIGHTER if self.lighten else images

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        first, second = (Activations(*(part.detach() for part in domain)) for domain in (source, target))
        self.seen.append((first, second, source_labels))
        return source.features.new_tensor(3.0)


class LoggedMetrics(pl.Callback):
    """The logged metrics of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def task_of(config: Config, prepared: Prepared, penalty: Adaptation | None = None) -> TransferTask:
    """The task as `train` sets it up, but with a stretch that changes nothing."""
    torch.manual_seed(config.seed)
    classifier = build_classifier(config)
    penalty = penalty or instantiate(config.adaptation.penalty, Adaptation)
    penalty.build(classifier.network.feature_size, CLASSES)
    return TransferTask(
        classifier, penalty, config, TransferData(prepared, config, uses_target=penalty.uses_target)
    )


def fit(task: TransferTask, config: Config, prepared: Prepared) -> list[dict[str, float]]:
    """Train without writing anything to disk; returns the metrics of every epoch."""
    metrics = LoggedMetrics()
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*treespec.*is deprecated.*")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=config.training.epochs,
        callbacks=[metrics],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
    )
    trainer.fit(task, TransferData(prepared, config, uses_target=task.penalty.uses_target))
    return metrics.epochs
