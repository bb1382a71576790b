"""Replacement of a data folder: a new folder is written next to the old one and takes its place by renaming.

Files that DVC has linked into its cache share their content with it, so no file of a data folder is ever opened
for writing. An interrupted replacement leaves one of three states, from which the next command recovers: the old
folder is still in place, it is set aside (and is put back), or the new one is in place (and the old one is deleted).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergershift.archive.manifest import published_files, published_names
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.provenance import PROVENANCE_NAME
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock

OWN_NAMES = {PROVENANCE_NAME, METADATA_NAME}


def beside(folder: Path, purpose: str) -> Path:
    """Return the path of the hidden folder for `purpose` next to a data folder, on the same file system."""
    real = folder.resolve()
    return real.parent / f".{real.name}.{purpose}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a data folder against other commands that write it, and recover from an interrupted replacement.

    Raises UserError if another command holds the lock or the folder is a mount point.
    """
    folder.resolve().parent.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(folder):
        raise UserError(
            f"{folder}: is a mount point, which cannot be replaced.\n"
            "Mount its parent folder instead, or give --data DIR."
        )
    refusal = (
        f"another command is writing to {folder}.\nWait for it to end, or stop it and run this command again."
    )
    with exclusive_lock(beside(folder, "lock"), refusal, keep=False):
        _recover(folder)
        yield


def recover(folder: Path) -> None:
    """Recover from an interrupted replacement; does nothing if there was none."""
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
            f"{old}: set aside by an interrupted replacement, but {folder} has been made again since.\n"
            "Keep one of the two and delete the other."
        )


def fresh(folder: Path, purpose: str) -> Path:
    """Make an empty folder next to a data folder, deleting what a killed command left in it."""
    work = beside(folder, purpose)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    return work


def carry(source: Path, work: Path) -> None:
    """Copy a file or folder into another folder of the same file system, as a hard link if possible."""
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
    """List what a data folder contains beyond the archive's files and those that this package writes."""
    known = published_names() | OWN_NAMES
    return [path for path in folder.iterdir() if path.name not in known] if folder.is_dir() else []


def replace_folder(work: Path, folder: Path) -> None:
    """Replace a data folder, which must be `locked`, by `work`, a complete archive with its provenance.

    Files that do not belong to the archive are kept. Raises ValueError if `work` has no provenance.
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
    """Raise UserError if the file system of a data folder has fewer than `needed` bytes free."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        held = sum(path.stat().st_size for path in published_files(folder))
        hint = (
            f" (the present files take {held / 1e9:.2f} GB and stay until they are replaced)" if held else ""
        )
        raise UserError(
            f"{folder}: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free{hint}.\n"
            "Free some space, request fewer files, or give --data DIR on a larger disk."
        )
