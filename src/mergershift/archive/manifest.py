"""SHA-256 manifests of the archive's files: recorded once when they are written, compared from then on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from mergershift.archive.facts import DATA_SETS

Manifest = dict[str, str]
"""SHA-256 of each file in hexadecimal, by file name."""
Difference = Literal["missing", "differs"]

# Hashing releases the interpreter lock; more threads than these would only wait for the disk.
HASHING_THREADS = 4


def published_names() -> set[str]:
    """Return all names that a file of the archive may have."""
    return {name for data_set in DATA_SETS.values() for name in data_set.names}


def published_files(folder: Path) -> list[Path]:
    """List the files in a folder that have a name of the archive, sorted."""
    names = published_names()
    return sorted(path for path in folder.iterdir() if path.name in names) if folder.is_dir() else []


def file_hash(
    path: Path,
    advance: Callable[[int], None] | None = None,
    *,
    algorithm: str = "sha256",
    block: int = 1 << 20,
) -> str:
    """Compute the hash of a file in hexadecimal, calling `advance` with the number of bytes of each block."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(block):
            digest.update(chunk)
            if advance:
                advance(len(chunk))
    return digest.hexdigest()


def take(paths: Iterable[Path], advance: Callable[[int], None] | None = None) -> Manifest:
    """Compute the manifest of some files, hashing several at a time."""
    listed = list(paths)
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        hashes = pool.map(lambda path: file_hash(path, advance), listed)
        return {path.name: found for path, found in zip(listed, hashes, strict=True)}


def differences(
    folder: Path, manifest: Manifest, advance: Callable[[int], None] | None = None
) -> dict[str, Difference]:
    """Compare the files in a folder with a manifest and return those that are missing or differ, by name."""
    found = take([folder / name for name in manifest if (folder / name).is_file()], advance)
    return {
        name: "differs" if name in found else "missing"
        for name, expected in manifest.items()
        if found.get(name) != expected
    }
