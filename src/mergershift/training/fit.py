"""train(config) -> Result: the only entry to training."""

from __future__ import annotations

import ctypes
import logging
import shutil
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from safetensors.torch import load_file

from mergershift.adaptation import Adaptation
from mergershift.cells.layout import EPOCHS, MODELS, model_epochs, model_file
from mergershift.classifier.classifier import Classifier, build_classifier, full_precision, save_classifier
from mergershift.config import Config, instantiate
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.networks import CLASSES
from mergershift.training.callbacks import (
    Candidates,
    Checkpoint,
    EpochHistory,
    Epochs,
    OnEpoch,
    ResumableEarlyStopping,
)
from mergershift.training.datamodule import TransferData
from mergershift.training.task import TransferTask

LAST, BEST, ADAPTED = "last", "best", "adapted"


@dataclass(frozen=True)
class Result:
    """What a training leaves: classifiers of some epochs and the history of all."""

    classifier: Classifier
    """As it was in the best epoch."""
    models: dict[int, Path]
    """Files of the classifiers by epoch: the best one, and those spread over the training."""
    epochs: Epochs
    """Figures of every epoch, by name; "epoch" is its number."""
    best_epoch: int
    best_score: float

    @property
    def table(self) -> pd.DataFrame:
        """One line an epoch."""
        return pd.DataFrame(self.epochs).astype({"epoch": int})

    def write(self, folder: Path) -> None:
        """Write the classifiers and epochs.csv into an existing folder."""
        for epoch, path in self.models.items():
            kept = model_file(folder, epoch)
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, kept)
        self.table.to_csv(folder / EPOCHS, index=False)


def train(
    config: Config, prepared: Prepared, state: Path, on_epoch: OnEpoch = lambda epochs, classifier: None
) -> Result:
    """Train until the last epoch or until the labelled validation images stop improving.

    Checkpoints go to `state`; where it holds one already, training goes on after its last finished epoch and
    ends as it would have without the interruption. `on_epoch` hears of all finished epochs after each; what it
    raises ends the training.
    """
    _quiet()
    _keep_memory()
    state.mkdir(parents=True, exist_ok=True)
    settings = config.training
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "trainer=gpu, but PyTorch sees no GPU here.\nTake trainer=cpu, or install PyTorch for your GPU."
        )
    torch.set_num_threads(config.trainer.threads)
    pl.seed_everything(config.seed, verbose=False)
    classifier = build_classifier(config)
    penalty: Adaptation = instantiate(config.adaptation.penalty)
    penalty.build(classifier.network.feature_size, CLASSES)
    data = TransferData(prepared, config, uses_target=penalty.uses_target)
    classifier.stretch.fit(data.source.images)
    task = TransferTask(classifier, penalty, config, data)

    history = EpochHistory(on_epoch)
    models = state / MODELS
    models.mkdir(exist_ok=True)

    def keep(epoch: int) -> None:
        save_classifier(classifier, model_file(state, epoch))

    best = Checkpoint(
        state,
        filename=BEST,
        monitor=settings.keep_best,
        mode=_mode(settings.keep_best),
        enable_version_counter=False,
    )
    # Added after `best`, so that the checkpoint to go on from knows which epoch was the best so far.
    last = Checkpoint(state, filename=LAST, save_on_train_epoch_end=True, enable_version_counter=False)
    callbacks: list[pl.Callback] = [
        history,
        ResumableEarlyStopping(settings.stop_on, patience=settings.patience, mode=_mode(settings.stop_on)),
        best,
        *([Candidates(settings.epochs, settings.candidates, keep)] if settings.candidates else []),
        last,
    ]
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,
        max_epochs=settings.epochs,
        callbacks=callbacks,
        logger=False,
        deterministic=True,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        default_root_dir=state,
    )
    with full_precision() if config.trainer.precision == "32-true" else nullcontext():
        trainer.fit(task, data, ckpt_path=_sound_checkpoint(state), weights_only=True)
    checkpoint = torch.load(state / f"{BEST}.ckpt", weights_only=True, map_location="cpu")
    task.load_state_dict(checkpoint["state_dict"])
    pick = min if _mode(settings.keep_best) == "min" else max
    kept = pick(history.epochs, key=lambda figures: figures[settings.keep_best])
    if checkpoint["epoch"] != kept["epoch"]:
        raise RuntimeError(f"{BEST}.ckpt is of epoch {checkpoint['epoch']}, the best is {kept['epoch']:.0f}")
    epoch = int(kept["epoch"])
    classifier.cpu().eval()
    keep(epoch)
    adapted = {
        each: _adapt(classifier, penalty, data, model_file(state, each), state / ADAPTED)
        for each in [*sorted({*model_epochs(state)} - {epoch}), epoch]
    }
    return Result(classifier, adapted, history.epochs, epoch, kept[settings.keep_best])


def _adapt(classifier: Classifier, penalty: Adaptation, data: TransferData, path: Path, folder: Path) -> Path:
    """Let the method have its last word on the classifier in `path`; returns the file of the outcome."""
    classifier.load_state_dict(load_file(path))
    batches = (classifier.stretched(images) for images in data.target_batches())
    penalty.cpu().after_training(classifier.network, batches)
    folder.mkdir(exist_ok=True)
    save_classifier(classifier, folder / path.name)
    return folder / path.name


def _sound_checkpoint(state: Path) -> Path | None:
    """The checkpoint to go on from; where a kill or a full disk tore one of the two, both go."""
    last = state / f"{LAST}.ckpt"
    if not last.is_file():
        return None
    for path in (last, state / f"{BEST}.ckpt"):
        try:
            torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a torn file fails in many ways
            logging.getLogger(__name__).warning("%s cannot be read (%s): training begins anew", path, error)
            last.unlink()
            return None
    return last


def _mode(name: str) -> str:
    return "min" if name.endswith("loss") else "max"


def _keep_memory() -> None:
    """Let glibc keep the memory of freed tensors: handing tens of megabytes back each step costs a third of it."""
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 64 * 2**20)


def _quiet() -> None:
    """Silence Lightning's advertising and hints that do not apply to loaders of tensors in memory."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*treespec.*is deprecated.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings(
        "ignore", message=".*number of training batches .* is smaller than the logging interval.*"
    )
