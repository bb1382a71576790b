"""Atomic writes of files and directories, and locks between processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mergershift.core.errors import UserError
from mergershift.core.processes import several_tasks

PARTIAL = ".part"
"""Suffix of files and directories that are still being written."""


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory next to `path`; it replaces `path` if the block ends without an error."""
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


@contextmanager
def atomic_file(path: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Yield the path for a new file next to `path`; it replaces `path` if the block ends without an error.

    A file that is linked elsewhere, for instance into DVC's cache, is replaced rather than modified. After an
    error the new file is deleted.

    Args:
        path: File to write; its directory must exist.
        hidden: Whether the name of the unfinished file starts with a dot.
    """
    partial = path.with_name("." * hidden + path.name + PARTIAL)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as partial:
        partial.write_text(text)


@contextmanager
def exclusive_lock(path: Path, refusal: str, *, keep: bool = True) -> Iterator[None]:
    """Hold the lock file at `path`; raises UserError with `refusal` at once if another process holds it.

    The file is kept after the lock is released, since a process that already has it open would otherwise lock
    a deleted file. Without `keep`, where it would lie among a user's files, it is deleted while the lock is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{path}: {refusal}{several_tasks()}") from error
    try:
        yield
    finally:
        if not keep:
            path.unlink(missing_ok=True)
        lock.release()
