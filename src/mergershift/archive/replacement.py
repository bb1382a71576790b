"""Writing a data folder beside the old one and swapping the two by renaming.

Files that DVC has linked into its cache share their bytes with it, so no file of a data folder is ever opened
for writing. A replace_folder that is interrupted leaves one of three folders, and the next command puts things right:
the old one in place, the old one set aside (it is put back), or the new one in place (the old one goes).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mergershift.archive.manifest import published_files, published_names
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.provenance import PROVENANCE_NAME
from mergershift.core.errors import UserError

OWN_NAMES = {PROVENANCE_NAME, METADATA_NAME}


def beside(folder: Path, purpose: str) -> Path:
    """Hidden folder next to a data folder, on the same file system, for `purpose`."""
    real = folder.resolve()
    return real.parent / f".{real.name}.{purpose}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other commands from writing the same data folder, and repair a replace_folder that was interrupted.

    Raises UserError where another command holds the folder.
    """
    folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(folder):
        raise UserError(
            f"{folder}: is a mount point and can't be swapped\nMount the folder above it, or give --data DIR"
        )
    lock = FileLock(beside(folder, "lock"))
    try:
        with lock.acquire(timeout=0):
            try:
                _recover(folder)
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise UserError(
            f"{folder}: another command is writing it\nWait for it to end, or delete {lock.lock_file}"
        ) from None


def recover(folder: Path) -> None:
    """Put right what an interrupted replace_folder has left; does nothing where there was none."""
    if beside(folder, "old").exists():
        with locked(folder):
            pass


def _recover(folder: Path) -> None:
    old = beside(folder, "old")
    if not old.exists():
        return
    real = folder.resolve()
    if real.is_dir() and not any(real.iterdir()):
        real.rmdir()
    if not real.exists():
        os.rename(old, real)
    elif (real / PROVENANCE_NAME).is_file():
        shutil.rmtree(old)
    else:
        raise UserError(
            f"{old}: set aside by an interrupted replace_folder, and {folder} has been made anew\nKeep one of the two"
        )


def fresh(folder: Path, purpose: str) -> Path:
    """Make an empty folder beside a data folder, without what a killed command left in it."""
    work = beside(folder, purpose)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


def carry(source: Path, work: Path) -> None:
    """Take a file over into another folder of the same file system, by a link where that works."""
    target = work / source.name
    if source.is_symlink():
        target.symlink_to(source.resolve())
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copy2(source, target)


def foreign_files(folder: Path) -> list[Path]:
    """What lies in a data folder and is neither the archive's nor written by this package."""
    known = published_names() | OWN_NAMES
    return [path for path in folder.iterdir() if path.name not in known] if folder.is_dir() else []


def replace_folder(work: Path, folder: Path) -> None:
    """Put `work`, a complete archive with its provenance, in the place of a data folder; call it `locked`.

    Files that are not the archive's own are taken over. Raises ValueError where `work` has no provenance.
    """
    if not (work / PROVENANCE_NAME).is_file():
        raise ValueError(f"{work}: no {PROVENANCE_NAME}")
    for path in foreign_files(folder):
        if not (work / path.name).exists():
            carry(path, work)
    real, old = folder.resolve(), beside(folder, "old")
    if real.exists():
        os.rename(real, old)
    os.rename(work, real)
    if old.exists():
        shutil.rmtree(old)


def require_space(folder: Path, needed: int) -> None:
    """Raise UserError where the file system of a data folder has fewer than `needed` bytes free."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        held = sum(path.stat().st_size for path in published_files(folder))
        hint = (
            f" (the files there now hold {held / 1e9:.2f} GB and stay until the replace_folder)"
            if held
            else ""
        )
        raise UserError(
            f"{folder}: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free{hint}\n"
            "Make room, ask for fewer files, or give --data DIR on a larger disk"
        )
