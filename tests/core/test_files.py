"""Files and directories appear whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock

from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory, atomic_file, exclusive_lock, write_text


def test_a_file_appears_when_its_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with atomic_file(path) as partial:
        partial.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("hidden", [True, False])
def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path: Path, hidden: bool) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with suppress(OSError), atomic_file(path, hidden=hidden) as partial:
        assert partial.name.startswith(".") == hidden
        partial.write_text("ne")
        raise OSError("full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_linked_file_is_replaced_and_not_written_into(tmp_path: Path) -> None:
    cached, path = tmp_path / "cached", tmp_path / "path"
    cached.write_text("old")
    path.hardlink_to(cached)
    write_text(path, "new")
    assert (cached.read_text(), path.read_text()) == ("old", "new")


def test_a_directory_replaces_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    for name in ("first", "second"):
        with atomic_directory(path) as partial:
            (partial / name).touch()
    assert [file.name for file in path.iterdir()] == ["second"]
    with suppress(KeyError), atomic_directory(path) as partial:
        (partial / "third").touch()
        raise KeyError
    assert [file.name for file in path.iterdir()] == ["second"]
    with atomic_directory(path) as partial:  # what the failed attempt left does not return
        (partial / "fourth").touch()
    assert [file.name for file in path.iterdir()] == ["fourth"]


def test_a_lock_that_another_holds_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "jobs.lock"
    with exclusive_lock(path, "taken.\nWait."):
        pass
    with FileLock(path), pytest.raises(UserError, match=r"jobs\.lock: taken\.\nWait\."):
        exclusive_lock(path, "taken.\nWait.").__enter__()
    with exclusive_lock(path, "free again"):
        pass
