"""What an interrupted training needs to go on: its id and its checkpoints, under state/ in the main checkout."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from mergershift.errors import UserError
from mergershift.project import main_checkout


@dataclass(frozen=True)
class Identity:
    """What makes an unfinished training the same one: configuration, data, and an id of its own."""

    training: str
    config_hash: str
    data_hash: str


@dataclass(frozen=True)
class CellState:
    """The folder of one unfinished training."""

    folder: Path
    identity: Identity
    superseded: Identity | None
    """The unfinished training of another configuration or other data that lay here before."""

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.folder / "checkpoints"

    def clear(self) -> None:
        """Forget the training, because it is done."""
        shutil.rmtree(self.folder)


@contextmanager
def cell_state(cell: str, config_hash: str, data_hash: str) -> Iterator[CellState]:
    """Take up the unfinished training of `cell`, or begin one, and keep other processes off it.

    What lies there of another configuration or of other data is dropped. Raises UserError where another process
    trains the same cell.
    """
    folder = main_checkout() / "state" / cell
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(folder.name + ".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder}: another process is training this cell.\nWait for it, or stop it and start again."
        ) from error
    try:
        found = _read(folder)
        superseded = None
        if found is not None and (found.config_hash, found.data_hash) != (config_hash, data_hash):
            superseded, found = found, None
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            found = Identity(uuid.uuid4().hex, config_hash, data_hash)
            temporary = folder / "identity.json.part"
            temporary.write_text(json.dumps(asdict(found)))
            os.replace(temporary, folder / "identity.json")
        yield CellState(folder, found, superseded)
    finally:
        lock.release()


def _read(folder: Path) -> Identity | None:
    try:
        return Identity(**json.loads((folder / "identity.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, TypeError, json.JSONDecodeError):
        return None
