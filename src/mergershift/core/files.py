"""Files and directories that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mergershift.core.errors import UserError

PARTIAL = ".part"
"""Suffix of what is being written."""


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a new directory beside `path`, which takes its place when the block ends without an error."""
    partial = path.with_name(path.name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


@contextmanager
def atomic_file(path: Path, *, hidden: bool = False) -> Iterator[Path]:
    """Yield the path of a file beside `path`, which takes its place when the block ends without an error.

    A file that is linked elsewhere, for instance into DVC's cache, is replaced and never written into. After an
    error nothing is left of the new one.

    Args:
        path: of the file to write; its directory must exist.
        hidden: give the unfinished file a name that starts with a dot.
    """
    partial = path.with_name("." * hidden + path.name + PARTIAL)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text)


@contextmanager
def exclusive_lock(path: Path, refusal: str) -> Iterator[None]:
    """Hold the lock file at `path`; raises UserError with `refusal` at once where another process holds it.

    The file stays after the lock is released: whoever waits for it would otherwise hold one that is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"{path}: {refusal}") from error
    try:
        yield
    finally:
        lock.release()
