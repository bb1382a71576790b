"""The part of a training that all of its processes run: the fit from its first or last finished epoch to its end."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from mergershift.adaptation import Adaptation
from mergershift.cells.layout import MODELS, model_file
from mergershift.classifier.class_shares import class_shares
from mergershift.classifier.classifier import (
    Classifier,
    build_classifier,
    full_precision,
    load_network,
    save_classifier,
)
from mergershift.classifier.devices import accelerator, device_of
from mergershift.config import Config, instantiate
from mergershift.images import Prepared
from mergershift.networks import CLASSES
from mergershift.training.callbacks import (
    Candidates,
    Checkpoint,
    EpochHistory,
    Epochs,
    OnEpoch,
    RandomBatchStopping,
    ResumableEarlyStopping,
)
from mergershift.training.datamodule import TransferData
from mergershift.training.share import Share
from mergershift.training.task import TransferTask

LAST, BEST = "last.ckpt", "best.ckpt"


@dataclass(frozen=True)
class Job:
    """What a process of a training has to know."""

    config: Config
    prepared: Prepared
    state: Path
    """Folder of the checkpoints."""
    checkpoint: Path | None
    """Checkpoint from which to resume."""
    initial: Path | None
    """File of the classifier with whose network the training starts."""

    def plain(self) -> dict[str, Any]:
        """Return the job as JSON can hold it, without passwords."""
        paths = {"state": self.state, "checkpoint": self.checkpoint, "initial": self.initial}
        return {
            "config": self.config.dump(),
            "prepared": str(self.prepared.folder),
            **{name: None if path is None else str(path) for name, path in paths.items()},
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Job:
        """Return the job of which `plain` is the plain form."""
        paths = {name: plain[name] and Path(plain[name]) for name in ("state", "checkpoint", "initial")}
        return cls(Config.model_validate(plain["config"]), Prepared(Path(plain["prepared"])), **paths)


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves in the memory of its process: all as of the last epoch."""

    classifier: Classifier
    penalty: Adaptation
    data: TransferData
    task: TransferTask
    epochs: Epochs


def fit(job: Job, share: Share, on_epoch: OnEpoch = lambda epochs, classifier: None) -> Fitted:
    """Fit with this process's share of every batch; only the process of rank 0 writes files.

    Raises KeyboardInterrupt if the process is interrupted, Diverged if the network's outputs are NaN or infinite, and
    whatever `on_epoch` raises.
    """
    _quiet()
    _keep_memory()
    # Where algorithms are deterministic, PyTorch fills new memory with NaN before it is written: a sixth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    config = job.config
    torch.set_num_threads(config.trainer.threads)
    pl.seed_everything(config.seed, verbose=False)
    classifier = build_classifier(config)
    if job.initial is not None:
        load_network(classifier, job.initial)
    penalty = instantiate(config.adaptation.penalty, Adaptation)
    penalty.build(classifier.network.feature_size, CLASSES)
    penalty.expect(class_shares(config, job.prepared))
    data = TransferData(job.prepared, config, uses_target=penalty.uses_target)
    precision = torch.bfloat16 if config.trainer.precision == "bf16-mixed" else torch.float32
    data.stretch(classifier, penalty, precision)
    task = TransferTask(classifier, penalty, config, data, share)
    if config.training.frozen_features:
        task.freeze_features(job.initial or job.checkpoint, data.source.images[:1].float())
    data.hold_on(device_of(config, share.rank))
    history = EpochHistory(on_epoch)
    trainer = _trainer(job, task, history)
    with full_precision() if config.trainer.precision == "32-true" else nullcontext():
        try:
            trainer.fit(task, data, ckpt_path=job.checkpoint, weights_only=True)
        except SystemExit:  # Lightning turns a KeyboardInterrupt into a SystemExit
            raise KeyboardInterrupt from None
    return Fitted(classifier, penalty, data, task, history.epochs)


def _trainer(job: Job, task: TransferTask, history: EpochHistory) -> pl.Trainer:
    config, share = job.config, task.share
    visible = share.rank == 0 and sys.stderr.isatty()
    return pl.Trainer(
        plugins=[_Environment(share)],
        accelerator=accelerator(config) if share.processes > 1 else config.trainer.accelerator,
        devices=share.processes,
        strategy=_Strategy(process_group_backend=backend(config)) if share.processes > 1 else "auto",
        precision=config.trainer.precision,
        max_epochs=config.training.epochs,
        callbacks=[
            *_callbacks(job, task, history),
            *([RichProgressBar(leave=False)] if visible else []),
            *([_OwnSignals()] if share.processes > 1 else []),
        ],
        logger=False,
        deterministic=True,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        enable_progress_bar=visible,
        enable_model_summary=False,
        # Not `state`: in a SLURM job, Lightning would resume from a hpc_ckpt_*.ckpt that lies in this folder.
        default_root_dir=job.state / MODELS,
    )


def _callbacks(job: Job, task: TransferTask, history: EpochHistory) -> list[pl.Callback]:
    settings = job.config.training

    def keep(epoch: int) -> None:
        if task.share.rank == 0:
            save_classifier(task.classifier, model_file(job.state, epoch))

    best = Checkpoint(
        job.state,
        filename=Path(BEST).stem,
        monitor=settings.keep_best,
        mode=mode(settings.keep_best),
        enable_version_counter=False,
    )
    # Placed after `best`, so that the checkpoint from which to resume contains the best score so far.
    last = Checkpoint(
        job.state, filename=Path(LAST).stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    return [
        history,
        RandomBatchStopping(settings.patience)
        if settings.stop_on == "random_batches_2021"
        else ResumableEarlyStopping(
            settings.stop_on, patience=settings.patience, mode=mode(settings.stop_on)
        ),
        best,
        *([Candidates(settings.epochs, settings.candidates, keep)] if settings.candidates else []),
        last,
    ]


def mode(name: str) -> str:
    """Whether the metric `name` is better if it is lower or higher: min or max."""
    return "min" if name.endswith("loss") else "max"


def backend(config: Config) -> str:
    """Return PyTorch's name of the library by which several processes communicate."""
    return "nccl" if accelerator(config) == "cuda" else "gloo"


class _Strategy(DDPStrategy):
    """DDP between processes that have been started and connected.

    Lightning's launcher, which has nothing to start then, would set the number of threads all the same.
    """

    def _configure_launcher(self) -> None:
        """Leave this process without a launcher."""


class _Environment(LightningEnvironment):
    """The processes of this training alone, whatever launcher or scheduler has started it and set its variables.

    Lightning takes its rank from RANK or SLURM_PROCID when it is imported.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share
        self.set_global_rank(share.rank)

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self._share.rank

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """Leave the variables of the launcher as they are."""


class _OwnSignals(pl.Callback):
    """Keeps the handler of SIGTERM that Lightning replaces.

    Lightning's handler begins a communication between the processes at whatever moment the signal arrives, in which
    the other processes do not take part.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


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
    # Every process computes the metrics of the whole batch.
    warnings.filterwarnings("ignore", module="pytorch_lightning", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*Grad strides do not match bucket view strides.*")
