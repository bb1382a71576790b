"""Expansion of files, folders and patterns into a list of files in a stable order."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from mergershift.archive import DATA_SETS

SUFFIXES = (".npy", ".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
_LABELS = {name for data_set in DATA_SETS.values() for name in data_set.labels_names}


def find_files(names: Iterable[str | Path], leave_out: Path | None = None) -> list[str]:
    """List the files in the order in which they are named, without duplicates; missing files stay in the list.

    A folder stands for all images (by suffix) in it and its subfolders, sorted and without hidden files; a pattern
    stands for all matching files, sorted. Files of labels from the archive are skipped.

    Args:
        names: Files, folders and patterns.
        leave_out: File to leave out, such as the output.
    """
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(_expanded(str(name)))
    out = leave_out.absolute() if leave_out else None
    return [file for file in found if Path(file).name not in _LABELS and Path(file).absolute() != out]


def _expanded(name: str) -> Iterator[str]:
    path = Path(name)
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.name.endswith(SUFFIXES) and file.is_file())
        relative = ((file, file.relative_to(path).parts) for file in inside)
        yield from sorted(str(file) for file, parts in relative if not any(p.startswith(".") for p in parts))
    elif glob.has_magic(name) and not path.exists():
        matches = sorted(glob.glob(name, recursive=True))
        for match in matches:
            yield from _expanded(match)
        if not matches:
            yield name
    else:
        yield str(path)
