"""A job that its scheduler stops in mid-epoch: nothing is lost, and its run in MLflow says what happened."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from torch import Tensor

from mergershift.config import compose
from mergershift.core.errors import Diverged
from mergershift.core.processes import STOP_SIGNALS, interrupted_by
from mergershift.stages.prepare import prepare_step
from mergershift.stages.train import train_step
from mergershift.training.task import TransferTask

pytestmark = pytest.mark.system
SETTINGS = ["filters=two", "training.epochs=3", "training.batch_size=16", "trainer.threads=1"]
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "study",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def status(project: Path) -> list[str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    return [run.info.status for run in client.search_runs(["1"])]


def test_a_training_that_slurm_stops_in_mid_epoch_ends_as_an_uninterrupted_one(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the job of four tasks, a `scontrol` on PATH notes every call; the first and the second epoch are cut short."""
    (archive / "programs").mkdir()
    (archive / "programs/scontrol").write_text(f"#!/bin/sh\necho $@ >> {archive}/scontrol.log\n")
    (archive / "programs/scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{archive}/programs:{os.environ['PATH']}")
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    config = compose(SETTINGS)
    prepare_step(config)
    cell = archive / "outputs/runs/stopped"
    step = TransferTask.training_step
    for number, epoch in ((signal.SIGUSR1, 0), (signal.SIGTERM, 1)):

        def stopped(
            task: TransferTask, batch: Any, index: int, number: int = number, epoch: int = epoch
        ) -> Tensor:
            if (task.current_epoch, index) == (epoch, 1):
                os.kill(os.getpid(), number)
            return step(task, batch, index)

        monkeypatch.setattr(TransferTask, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt), interrupted_by(*STOP_SIGNALS):
            train_step(config, cell)
        assert status(archive) == ["KILLED"]
    assert not list(archive.rglob("hpc_ckpt*"))
    monkeypatch.setattr(TransferTask, "training_step", step)
    train_step(config, cell)
    assert status(archive) == ["FINISHED"]
    train_step(config, archive / "outputs/runs/whole")
    models = [
        {path.name: path.read_bytes() for path in (archive / f"outputs/runs/{name}/train/models").iterdir()}
        for name in ("stopped", "whole")
    ]
    assert models[0] == models[1]
    assert not (archive / "scontrol.log").exists()


def test_a_training_that_fails_is_a_failed_run(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(SETTINGS)
    prepare_step(config)

    def diverge(*_: object) -> Tensor:
        raise Diverged("NaN")

    monkeypatch.setattr(TransferTask, "training_step", diverge)
    with pytest.raises(Diverged):
        train_step(config, archive / "outputs/runs/diverged")
    assert status(archive) == ["FAILED"]
