"""The entry point of every training: `train(config, ...) -> Result`."""

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
from pytorch_lightning.plugins.environments import LightningEnvironment
from safetensors.torch import load_file

from mergershift.adaptation import Adaptation
from mergershift.cells.layout import EPOCHS, MODELS, model_epochs, model_file
from mergershift.classifier.classifier import (
    Classifier,
    build_classifier,
    full_precision,
    load_network,
    save_classifier,
)
from mergershift.config import Config, instantiate
from mergershift.core.errors import UserError, first_line
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

LAST, BEST, ADAPTED = "last.ckpt", "best.ckpt", "adapted"


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
        initial: file of the classifier with whose network the training starts, instead of with random weights. The
            stretch is fitted to the labelled training images, as in every training.

    Raises UserError if the configuration requires a GPU and PyTorch finds none, and Diverged if the network's
    outputs are NaN or infinite.
    """
    _quiet()
    _keep_memory()
    state.mkdir(parents=True, exist_ok=True)
    settings = config.training
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "trainer=gpu, but PyTorch finds no GPU on this machine.\n"
            "Use trainer=cpu, or install a PyTorch build that supports your GPU."
        )
    torch.set_num_threads(config.trainer.threads)
    pl.seed_everything(config.seed, verbose=False)
    classifier = build_classifier(config)
    if initial is not None:
        load_network(classifier, initial)
    penalty = instantiate(config.adaptation.penalty, Adaptation)
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
        filename=Path(BEST).stem,
        monitor=settings.keep_best,
        mode=_mode(settings.keep_best),
        enable_version_counter=False,
    )
    # Placed after `best`, so that the checkpoint from which to resume contains the best score so far.
    last = Checkpoint(
        state, filename=Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[pl.Callback] = [
        history,
        ResumableEarlyStopping(settings.stop_on, patience=settings.patience, mode=_mode(settings.stop_on)),
        best,
        *([Candidates(settings.epochs, settings.candidates, keep)] if settings.candidates else []),
        last,
    ]
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar(leave=False))
    environment = LightningEnvironment()
    environment.set_global_rank(0)  # Lightning takes its rank from RANK or SLURM_PROCID when it is imported
    trainer = pl.Trainer(
        # A training is one process, whatever launcher or scheduler has started it and set its variables.
        plugins=[environment],
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
        # Not `state`: in a SLURM job, Lightning would resume from a hpc_ckpt_*.ckpt that lies in this folder.
        default_root_dir=models,
    )
    with full_precision() if config.trainer.precision == "32-true" else nullcontext():
        try:
            trainer.fit(task, data, ckpt_path=_sound_checkpoint(state), weights_only=True)
        except SystemExit:  # Lightning turns a KeyboardInterrupt into a SystemExit
            raise KeyboardInterrupt from None
    checkpoint = torch.load(state / BEST, weights_only=True, map_location="cpu")
    task.load_state_dict(checkpoint["state_dict"])
    pick = min if _mode(settings.keep_best) == "min" else max
    best_metrics = pick(history.epochs, key=lambda metrics: metrics[settings.keep_best])
    best_epoch = int(best_metrics["epoch"])
    if checkpoint["epoch"] != best_epoch:
        raise UserError(
            f"{state / BEST}: epoch {checkpoint['epoch']}, expected the best one, which is epoch {best_epoch}.\n"
            "The checkpoints are of different trainings: delete their folder, and train again."
        )
    classifier.cpu().eval()
    keep(best_epoch)
    # The best epoch comes last: `_adapt` leaves `classifier` with the weights of the epoch it adapted.
    adapted = {
        epoch: _adapt(classifier, penalty, data, model_file(state, epoch), state / ADAPTED)
        for epoch in [*sorted({*model_epochs(state)} - {best_epoch}), best_epoch]
    }
    return Result(classifier, adapted, history.epochs, best_epoch, best_metrics[settings.keep_best])


def _adapt(classifier: Classifier, penalty: Adaptation, data: TransferData, path: Path, folder: Path) -> Path:
    """Apply the penalty's `after_training` to the classifier in `path`; returns the file of the result in `folder`."""
    classifier.load_state_dict(load_file(path))
    batches = (classifier.stretched(images) for images in data.target_batches())
    penalty.cpu().after_training(classifier.network, batches)
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


def _mode(name: str) -> str:
    return "min" if name.endswith("loss") else "max"


def _keep_memory() -> None:
    """Let glibc keep the memory of freed tensors.

    Returning tens of megabytes to the system in every step would cost a third of the step's time.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(top_pad, 64 * 2**20)


def _quiet() -> None:
    """Silence Lightning's advertisements, and its hints that do not apply to tensors held in memory."""
    for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*treespec.*is deprecated.*")
    warnings.filterwarnings(
        "ignore", message=".*`srun` command is available on your system but is not used.*"
    )
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings(
        "ignore", message=".*number of training batches .* is smaller than the logging interval.*"
    )
