"""A checkout that is moved to a folder with a difficult name while a training is interrupted."""

import time
from pathlib import Path

import pytest
from studies import EPOCHS, begin_repro, checkpoint, kill_family, leave_page_out, ran, repro, runs, steps

pytestmark = pytest.mark.system
NAME = "ünï cödé #1 100% ok?"


def test_it_resumes_the_training_and_keeps_everything_else(studied: Path, tmp_path: Path) -> None:
    leave_page_out(studied)
    conf = studied / "conf/adaptation/mmd.yaml"
    conf.write_text(conf.read_text().replace("trade_off: 1.0", "trade_off: 0.5"))
    process = begin_repro(studied, tmp_path / "log", "--jobs", "2")
    deadline = time.monotonic() + 120
    while not checkpoint(studied, "mmd").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    kill_family(process)
    assert checkpoint(studied, "mmd").exists(), (tmp_path / "log").read_text()

    moved = studied.rename(studied.with_name(NAME))
    done = repro(moved, "--jobs", "2")
    assert ran(done) == ["summary"], "the other training is neither repeated nor evaluated again"
    assert {entry.name for entry in tmp_path.iterdir()} == {NAME, "log"}, "nothing is written elsewhere"
    found = runs(moved)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    for run in found:
        assert steps(moved, run) == list(range(EPOCHS)), "every epoch once"
