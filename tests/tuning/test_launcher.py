"""What the worker processes of a search are started with."""

from __future__ import annotations

import json
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


def test_workers_learn_the_search_from_their_environment_not_from_a_command_line_that_others_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    worker = tmp_path / "worker"
    worker.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho "$MERGERSHIFT_SEARCH" > {tmp_path}/search\n'
    )
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    search = search_of()
    run_workers(search, open_study(search), ["tuning.storage=postgresql+psycopg://u:secret@h/db"], 1)
    assert "secret" not in (tmp_path / "arguments").read_text()
    assert json.loads((tmp_path / "search").read_text()) == [
        "tuning.storage=postgresql+psycopg://u:secret@h/db"
    ]


def test_a_worker_that_a_signal_stopped_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\n[ -f {tmp_path}/once ] || {{ touch {tmp_path}/once; exit 143; }}\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    search = search_of()
    run_workers(search, open_study(search), [], 1)
    assert "worker 0: killed (signal 15); starting it again" in capfd.readouterr().err
