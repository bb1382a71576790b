"""A job that its scheduler stops in mid-epoch: nothing is lost, and its run in MLflow says what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mergershift.config import compose
from mergershift.stages.prepare import prepare_step
from mergershift.stages.train import train_step

pytestmark = pytest.mark.slow
SETTINGS = ["filters=two", "training.epochs=10", "training.batch_size=32", "trainer.threads=1"]
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "study",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def start(project: Path, cell: Path, output: Path) -> subprocess.Popen[bytes]:
    """`mergershift train` in a job of four tasks; a `scontrol` on PATH notes every call."""
    programs = project / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {project}/scontrol.log\n")
    (programs / "scontrol").chmod(0o755)
    environment = os.environ | SLURM | {"PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mergershift", "train", "--output", str(cell), *SETTINGS]
    with output.open("wb") as file:
        return subprocess.Popen(command, cwd=project, env=environment, stdout=file, stderr=file)


def epochs_done(cell: str) -> int:
    path = next(Path("state").rglob(f"{cell}/progress.json"), None)
    return json.loads(path.read_text())["epoch"] if path else 0


def status(project: Path) -> list[str]:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    return [run.info.status for run in client.search_runs(["1"])]


def test_a_training_that_slurm_stops_in_mid_epoch_ends_as_an_uninterrupted_one(archive: Path) -> None:
    config = compose(SETTINGS)
    prepare_step(config)
    output = archive / "output.txt"
    for number, done in ((signal.SIGUSR1, 1), (signal.SIGTERM, 3)):
        process = start(archive, archive / "outputs/runs/stopped", output)
        deadline = time.monotonic() + 60
        while epochs_done("stopped") <= done:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)
        assert process.wait(30) == 130
        assert "Run the same command again to resume" in output.read_text()
        assert status(archive) == ["KILLED"]
    before = epochs_done("stopped")
    assert 3 < before < 10, "stopped in mid-training"
    assert start(archive, archive / "outputs/runs/stopped", output).wait(60) == 0, output.read_text()
    assert status(archive) == ["FINISHED"]
    train_step(config, archive / "outputs/runs/whole")
    models = [
        {path.name: path.read_bytes() for path in (archive / f"outputs/runs/{name}/train/models").iterdir()}
        for name in ("stopped", "whole")
    ]
    assert models[0] == models[1]
    assert not list(archive.rglob("hpc_ckpt*"))
    assert not (archive / "scontrol.log").exists()
