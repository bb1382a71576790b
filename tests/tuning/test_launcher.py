"""What the worker processes of a search are started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cells.samples import config_of, write_checkout
from tuning.samples import search_of

from mergershift.tuning.launcher import run_workers
from mergershift.tuning.storage import open_study


def test_workers_that_train_on_gpus_are_spread_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\necho $CUDA_VISIBLE_DEVICES >> {tmp_path}/devices\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    trainer = config_of().trainer.model_copy(update={"accelerator": "gpu"})
    search = search_of()
    search = type(search)(
        search.config.model_copy(update={"trainer": trainer}),
        search.tuning,
        search.data_hash,
        search.code_hash,
        search.best_by,
    )
    run_workers(search, open_study(search), [], 3)
    assert sorted((tmp_path / "devices").read_text().split()) == ["0", "0", "3"]
    assert "GPU 0 for process 1, 3, GPU 3 for process 2; processes on the same GPU" in capfd.readouterr().err
