"""What an interrupted training needs to go on: its id and its checkpoints, under state/ in the main checkout."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mergershift.core.checkout import main_checkout
from mergershift.core.files import exclusive_lock, write_text


@dataclass(frozen=True)
class Identity:
    """What makes an unfinished training the same one: configuration, data, and an id of its own."""

    training: str
    config_hash: str
    data_hash: str
    code_hash: str


@dataclass(frozen=True)
class CellState:
    """The folder of one unfinished training."""

    folder: Path
    identity: Identity

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.folder / "checkpoints"

    @property
    def began(self) -> int:
        """When the training began, in milliseconds since 1970."""
        return int((self.folder / "identity.json").stat().st_mtime * 1000)

    def write_progress(self, epoch: int, epochs: int) -> None:
        """Record, for whoever watches several trainings, how many epochs of how many are done."""
        write_text(self.folder / "progress.json", json.dumps({"epoch": epoch, "epochs": epochs}))


@contextmanager
def cell_state(
    cell: str, config_hash: str, data_hash: str, code_hash: str, supersede: Callable[[Identity], None]
) -> Iterator[CellState]:
    """Take up the unfinished training of `cell`, or begin one, and keep other processes off it.

    What lies there of another configuration, other data or other code is handed to `supersede` and dropped.
    Raises UserError where another process trains the same cell.
    """
    folder = _folder(cell)
    lock = folder.with_name(folder.name + ".lock")
    with exclusive_lock(lock, "another process trains this cell.\nWait for it, or stop it and start again."):
        found = _read(folder)
        wanted = (config_hash, data_hash, code_hash)
        if found is not None and (found.config_hash, found.data_hash, found.code_hash) != wanted:
            supersede(found)
            found = None
        if found is None:
            _drop(folder)
            folder.mkdir()
            found = Identity(uuid.uuid4().hex, *wanted)
            write_text(folder / "identity.json", json.dumps(asdict(found)))
        yield CellState(folder, found)


def clear_state(cell: str) -> None:
    """Forget the training of `cell`, because its result is safe."""
    _drop(_folder(cell))


def _folder(cell: str) -> Path:
    return main_checkout() / "state" / cell


def _drop(folder: Path) -> None:
    # Renamed first: a kill in mid-deletion must not leave an identity without its checkpoints.
    if folder.exists():
        doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.gone")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _read(folder: Path) -> Identity | None:
    try:
        return Identity(**json.loads((folder / "identity.json").read_text()))
    except (FileNotFoundError, NotADirectoryError, TypeError, json.JSONDecodeError):
        return None
