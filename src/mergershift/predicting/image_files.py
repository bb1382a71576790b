"""Expansion of files, folders and patterns into a list of files in a stable order."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mergershift.archive import DATA_SETS
from mergershift.predicting.fits_access import is_remote

FITS_SUFFIXES = tuple(
    f".{name}{packed}" for name in ("fits", "fit", "fts") for packed in ("", ".gz", ".bz2", ".fz")
)
SUFFIXES = (".npy", *FITS_SUFFIXES)
"""Ends of the names of files that are read, in any case."""
_LABELS = {name for data_set in DATA_SETS.values() for name in data_set.labels_names}


def find_files(names: Iterable[str | Path], leave_out: Iterable[Path] = ()) -> list[str]:
    """List the files in the order in which they are named, without duplicates; missing files stay in the list.

    A folder stands for all images (by suffix) in it and its subfolders, sorted and without hidden files; a pattern
    stands for all matching files, sorted. Files of labels from the archive are skipped.

    Args:
        names: Files, folders and patterns.
        leave_out: Files to leave out, such as the output.
    """
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(_expanded(str(name)))
    out = {path.absolute() for path in leave_out}
    return [file for file in found if Path(file).name not in _LABELS and Path(file).absolute() not in out]


def passed_over(names: Iterable[str | Path], leave_out: Iterable[Path] = ()) -> Counter[str]:
    """Count the files in the named folders that are not read, by the end of their names.

    Args:
        names: Files, folders and patterns; files with a name that begins with a dot do not count.
        leave_out: Files that do not count, such as the output.
    """
    out = {path.absolute() for path in leave_out}
    folders = [Path(name) for name in names if not is_remote(str(name)) and Path(name).is_dir()]
    files = (file for folder in folders for file in _visible(folder) if not has_suffix(file.name, SUFFIXES))
    return Counter(file.suffix or file.name for file in files if file.absolute() not in out)


def has_suffix(name: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a name ends with one of the suffixes, which are in lower case, in any case."""
    return name.lower().endswith(suffixes)


def folder_of(name: str) -> str:
    """Return the folder of a file, or the address without its last part."""
    return name.rpartition("/")[0]


def _expanded(name: str) -> Iterator[str]:
    if is_remote(name):  # A path would lose one of its slashes.
        yield name
        return
    path = Path(name)
    if path.is_dir():
        yield from sorted(str(file) for file in _visible(path) if has_suffix(file.name, SUFFIXES))
    elif glob.has_magic(name) and not path.exists():
        matches = sorted(glob.glob(name, recursive=True))
        for match in matches:
            yield from _expanded(match)
        if not matches:
            yield name
    else:
        yield str(path)


def _visible(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            yield file


def stem(name: str) -> str:
    """Return the name of a file without its folder and the suffix of its format."""
    base = Path(name).name
    fitting = (suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if has_suffix(base, (suffix,)))
    return base[: len(base) - len(next(fitting, ""))]
