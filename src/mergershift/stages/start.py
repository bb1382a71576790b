"""Where the files are that a training starts from, and what it keeps so that a longer one can start from it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mergershift.cells.layout import CHECKPOINTS
from mergershift.cells.state import Identity
from mergershift.core.files import atomic_directory, write_text

IDENTITY = "identity.json"
"""File in the folder of the checkpoints with the training and the code that they belong to."""


class KeptCheckpoints(BaseModel):
    """The training and the code that kept checkpoints belong to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training: str
    code_hash: str


@dataclass(frozen=True)
class Start:
    """Where the files are that a training starts from, and the tags of its run that say so."""

    checkpoints: Path | None = None
    """Folder of the checkpoints of the training that is resumed."""
    dropped: Path | None = None
    """Model among them that only the resumed training keeps: its best epoch, if that is no candidate."""
    weights: Path | None = None
    """File of the classifier whose network the training starts with."""
    tags: Mapping[str, str] = field(default_factory=dict)

    def prepare(self, checkpoints: Path) -> None:
        """Copy the resumed training's checkpoints to `checkpoints`, unless those of this training are there."""
        from mergershift.training.fit import LAST, damaged

        if self.checkpoints is None or ((checkpoints / LAST).is_file() and damaged(checkpoints) is None):
            return
        with atomic_directory(checkpoints) as partial:
            shutil.copytree(self.checkpoints, partial, dirs_exist_ok=True)
            if self.dropped is not None:
                (partial / self.dropped).unlink(missing_ok=True)


ANEW = Start()


def keep_checkpoints(checkpoints: Path, trained: Path, identity: Identity) -> None:
    """Keep the checkpoints of a finished training in its folder `trained`."""
    folder = trained / CHECKPOINTS
    ignored = shutil.ignore_patterns("adapted")
    if checkpoints.is_dir():
        shutil.copytree(checkpoints, folder, ignore=ignored)
        kept = KeptCheckpoints(training=identity.training, code_hash=identity.code_hash)
        write_text(folder / IDENTITY, kept.model_dump_json())
