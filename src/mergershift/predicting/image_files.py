"""Which files are meant: files, folders and patterns, in a stable order."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path

from mergershift.archive import DATA_SETS

SUFFIXES = (".npy", ".fits", ".fit", ".fits.gz", ".fit.gz", ".fits.fz")
_LABELS = {name for data_set in DATA_SETS.values() for name in data_set.labels_names}


def find_files(asked: Iterable[str | Path], leave_out: Path | None = None) -> list[str]:
    """Files in the order in which they were asked for, each once; what is not there stays in the list.

    A folder means all its images (by suffix) and those of its folders, sorted, without hidden ones; a pattern all
    that fits it, sorted. The archive's files of labels are passed over.

    Args:
        asked: files, folders and patterns.
        leave_out: a file that is none of them.
    """
    found: dict[str, None] = {}
    for each in asked:
        found |= dict.fromkeys(_expanded(str(each)))
    out = leave_out.absolute() if leave_out else None
    return [name for name in found if Path(name).name not in _LABELS and Path(name).absolute() != out]


def _expanded(name: str) -> Iterator[str]:
    path = Path(name)
    if path.is_dir():
        inside = (each for each in path.rglob("*") if each.name.endswith(SUFFIXES) and each.is_file())
        hidden = ((each, each.relative_to(path).parts) for each in inside)
        yield from sorted(str(each) for each, parts in hidden if not any(p.startswith(".") for p in parts))
    elif glob.has_magic(name) and not path.exists():
        matches = sorted(glob.glob(name, recursive=True))
        for match in matches:
            yield from _expanded(match)
        if not matches:
            yield name
    else:
        yield str(path)
