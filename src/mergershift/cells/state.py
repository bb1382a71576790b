"""State from which an interrupted training resumes: its id and its checkpoints, in state/ of the user's checkout.

There a cell has one training at a time, as it has one folder of results. DVC's temporary experiments (`dvc exp run
--temp`, `dvc queue`) are another matter: any number of them train the same cell, in folders that do not outlive them.
Their state is in state/experiments/, under the hash of what the training is.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mergershift.core.checkout import is_temporary, workspace
from mergershift.core.files import exclusive_lock, write_text

EXPERIMENTS = "experiments"
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Identity:
    """What identifies an unfinished training: its id and the hashes of its configuration, data and code."""

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
        """Folder of the checkpoints, which the training creates."""
        return self.folder / "checkpoints"

    @property
    def began(self) -> int:
        """When the training began, in milliseconds since 1970."""
        return int((self.folder / "identity.json").stat().st_mtime * 1000)

    def write_progress(self, epoch: int, epochs: int) -> None:
        """Record that `epoch` of `epochs` epochs are done, for those who watch several trainings."""
        write_text(self.folder / _PROGRESS, json.dumps({"epoch": epoch, "epochs": epochs}))


def read_progress(folder: Path) -> tuple[int, int] | None:
    """Number of finished epochs, and of all, of the unfinished training in `folder`; None if that is not known."""
    try:
        progress = json.loads((folder / _PROGRESS).read_bytes())
        return int(progress["epoch"]), int(progress["epochs"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


@contextmanager
def cell_state(
    cell: str, config_hash: str, data_hash: str, code_hash: str, supersede: Callable[[Identity], None]
) -> Iterator[CellState]:
    """Resume the unfinished training of `cell`, or begin a new one, and lock it against other processes.

    An unfinished training with a different configuration, data or code is passed to `supersede` and then deleted; if
    `supersede` raises, it is kept. Raises UserError if another process is training the same cell.
    """
    wanted = (config_hash, data_hash, code_hash)
    folder = _folder(cell, wanted)
    lock = folder.with_name(folder.name + ".lock")
    with exclusive_lock(
        lock, "another process is training this cell.\nWait for it to finish, or stop it and start again."
    ):
        identity = _read(folder)
        if identity is not None and (identity.config_hash, identity.data_hash, identity.code_hash) != wanted:
            supersede(identity)
            identity = None
        if identity is None:
            _drop(folder)
            folder.mkdir()
            identity = Identity(uuid.uuid4().hex, *wanted)
            write_text(folder / "identity.json", json.dumps(asdict(identity)))
        yield CellState(folder, identity)


def clear_state(cell: str, training: str) -> None:
    """Delete the state of the training of `cell` with this id, whose result has been saved."""
    state = workspace() / "state"
    experiments = state / EXPERIMENTS
    keys = experiments.iterdir() if experiments.is_dir() else ()
    for folder in (state / cell, *(key / cell for key in keys)):
        identity = _read(folder)
        if identity is not None and identity.training == training:
            _drop(folder)


def _folder(cell: str, hashes: tuple[str, str, str]) -> Path:
    state = workspace() / "state"
    if is_temporary():
        state = state / EXPERIMENTS / hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]
    return state / cell


def _drop(folder: Path) -> None:
    # Renamed first, so that a process killed during the deletion cannot leave an identity without its checkpoints.
    if folder.exists():
        doomed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.gone")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _read(folder: Path) -> Identity | None:
    try:
        identity = Identity(**json.loads((folder / "identity.json").read_bytes()))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, TypeError, ValueError):
        return None
    return identity if all(isinstance(value, str) for value in asdict(identity).values()) else None
