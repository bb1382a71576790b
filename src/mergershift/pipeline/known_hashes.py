"""Hashes of what stages depend on and write, computed anew only where a file has changed.

DVC remembers the hash of every file, but puts the hash of a folder together anew each time: whether a study of 300
cells is up to date takes thousands of folders, most of them inside one another. Inside `remember_hashes`, a folder or
file has the hash that DVC computed when the files in it had the same inodes, times and sizes as now, by which DVC
itself recognises a file. What is remembered is kept in .dvc/tmp/.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dvc

from mergershift.core.files import write_text

STORE = ".dvc/tmp/hashes.json"
"""File of the checkout with what is remembered: the state of its files and the hash of each path."""
_IGNORE = ".dvcignore"
_VERSION = f"DVC {dvc.__version__}"


@contextmanager
def remember_hashes(checkout: Path) -> Iterator[None]:
    """Let DVC hash only what has changed in `checkout`, inside this context and in this process."""
    from dvc.output import Output
    from dvc_data.hashfile.hash_info import HashInfo

    path = checkout / STORE
    known = _read(path)
    added: dict[str, list[str]] = {}
    rules: dict[str, bytes] = {}
    compute = Output.get_hash

    def get_hash(self: Any) -> Any:
        """Return the hash of the present content, as DVC does."""
        name = os.path.relpath(self.fs_path, checkout)
        here = self.fs is self.repo.fs and self.fs.protocol == "local" and not name.startswith(os.pardir)
        state = _state(self.fs_path, str(checkout), rules) if here else None
        key = f"{self.hash_name} {name}"
        if state is not None and known.get(key, [""])[0] == state:
            return HashInfo(self.hash_name, known[key][1])
        found = compute(self)  # of what may have changed since, but then its state has changed as well
        if state is not None and found.name == self.hash_name:
            known[key] = added[key] = [state, found.value]
        return found

    Output.get_hash = get_hash
    try:
        yield
    finally:
        Output.get_hash = compute
        if added and path.parent.is_dir():
            kept = {key: entry for key, entry in known.items() if (checkout / key.partition(" ")[2]).exists()}
            with suppress(OSError):  # as on a full disk: it is computed again
                write_text(path, json.dumps({"version": _VERSION, **kept}))


def _read(path: Path) -> dict[str, list[str]]:
    with suppress(OSError, ValueError):
        stored = json.loads(path.read_bytes())
        if isinstance(stored, dict) and stored.pop("version", "") == _VERSION:
            return stored
    return {}


def _state(path: str, checkout: str, rules: dict[str, bytes]) -> str | None:
    """Digest of all that the hash of a path depends on, by inodes, times and sizes; None if a file is missing."""
    digest = hashlib.sha256(_rules(os.path.dirname(path), checkout, rules))
    try:
        for line in _lines(path, os.stat(path)):
            digest.update(line.encode(errors="surrogateescape"))
    except OSError:
        return None
    return digest.hexdigest()[:32]


def _rules(folder: str, checkout: str, known: dict[str, bytes]) -> bytes:
    """Return what .dvcignore says in the folders that contain a path, which DVC also reads once in a process."""
    if folder not in known:
        above = b"" if len(folder) <= len(checkout) else _rules(os.path.dirname(folder), checkout, known)
        known[folder] = above
        with suppress(OSError):
            known[folder] = above + f"{folder}\0".encode() + Path(folder, _IGNORE).read_bytes() + b"\0"
    return known[folder]


def _lines(path: str, stat: os.stat_result) -> Iterator[str]:
    """Yield the state of a file, or the names in a folder and the states of the files in it, always in one order."""
    if not os.path.isdir(path):
        yield f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_size}\0"
        return
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):  # DVC does not look into linked folders
            yield f"{entry.name}/\0"
            yield from _lines(entry.path, stat)
            yield "/\0"
        else:
            inside = entry.stat()
            yield f"{entry.name}\0{inside.st_ino} {inside.st_mtime_ns} {inside.st_size}\0"
