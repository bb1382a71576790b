"""SHA-256 of the archive's files: taken once when they are written, compared ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from mergershift.archive.facts import DATA_SETS

Manifest = dict[str, str]
"""File name to SHA-256 in hexadecimal."""
Difference = Literal["missing", "differs"]

# hashing lets go of the interpreter lock; more threads than this wait for the disk
HASHING_THREADS = 4


def published_names() -> set[str]:
    """Names of all files that the archive publishes, labels under both their names."""
    names: set[str] = set()
    for each in DATA_SETS.values():
        names |= {each.images_name, *each.labels_names, each.fits_name}
    return names


def published_files(folder: Path) -> list[Path]:
    """Files in a folder that bear a name of the archive, sorted."""
    names = published_names()
    return sorted(path for path in folder.iterdir() if path.name in names) if folder.is_dir() else []


def sha256(path: Path, advance: Callable[[int], None] | None = None, block: int = 1 << 20) -> str:
    """SHA-256 of a file in hexadecimal; `advance` is told how many bytes were read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(block):
            digest.update(chunk)
            if advance:
                advance(len(chunk))
    return digest.hexdigest()


def take(paths: Iterable[Path], advance: Callable[[int], None] | None = None) -> Manifest:
    """Hash files, several at a time."""
    each = list(paths)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        hashes = pool.map(lambda path: sha256(path, advance), each)
        return {path.name: found for path, found in zip(each, hashes, strict=True)}


def differences(
    folder: Path, manifest: Manifest, advance: Callable[[int], None] | None = None
) -> dict[str, Difference]:
    """Compare the files in a folder with a manifest: the names that are missing or differ."""
    found = take([folder / name for name in manifest if (folder / name).is_file()], advance)
    return {
        name: "differs" if name in found else "missing"
        for name, expected in manifest.items()
        if found.get(name) != expected
    }
