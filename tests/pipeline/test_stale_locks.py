from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.fs import localfs
from dvc.lock import LockError
from dvc.rwlock import rwlock

from mergershift.pipeline.stale_locks import drop_stale_locks


def lasting(*names: str) -> subprocess.Popen[bytes]:
    """A process that runs for a while, with these words in its command line."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *names])


@pytest.fixture
def other() -> Iterator[int]:
    """The number of a process that was killed, which another program has now."""
    with lasting("/home/ana/mergershift/state") as process:
        yield process.pid
        process.kill()


@pytest.fixture
def locks(tmp_path: Path, other: int) -> Path:
    """The list that the killed process has left behind."""
    path = tmp_path / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True)
    killed = {"pid": other, "cmd": "dvc repro"}
    path.write_text(json.dumps({"read": {"/a": [killed]}, "write": {"/b": killed}}))
    return path


def take(tmp_path: Path) -> None:
    with rwlock(str(tmp_path / ".dvc/tmp"), localfs, "dvc repro", ["/b"], ["/a"], False):
        pass


def test_a_killed_process_whose_number_another_has_blocks_nothing(tmp_path, locks):
    with pytest.raises(LockError, match="is being blocked"):
        take(tmp_path)
    drop_stale_locks(tmp_path)
    assert json.loads(locks.read_text()) == {"read": {}, "write": {}}
    take(tmp_path)


@pytest.mark.parametrize("torn", ["", '{"read": {"/a": [{"pi', "{}{}"])
def test_a_list_that_a_killed_process_has_torn_blocks_nothing(tmp_path, locks, torn):
    locks.write_text(torn)
    drop_stale_locks(tmp_path)
    take(tmp_path)


@pytest.mark.parametrize("words", [("/usr/bin/dvc", "repro"), ("-m", "mergershift.pipeline.dvc", "repro")])
def test_a_running_process_keeps_its_locks(tmp_path, locks, other, words):
    with lasting(*words) as process:
        held = {"pid": process.pid, "cmd": "dvc repro"}
        contents = {"read": {"/a": [held, {"pid": other, "cmd": "dvc repro"}]}, "write": {"/b": held}}
        locks.write_text(json.dumps(contents))
        drop_stale_locks(tmp_path)
        process.kill()
    assert json.loads(locks.read_text()) == {"read": {"/a": [held]}, "write": {"/b": held}}


def test_nothing_is_written_where_nothing_was_locked(tmp_path):
    drop_stale_locks(tmp_path)
    assert os.listdir(tmp_path) == []
