"""Which code produced a result: its commit, uncommitted changes, and a hash of all code that a training runs."""

from __future__ import annotations

import getpass
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from mergershift.core.checkout import git
from mergershift.core.redaction import public

LARGEST_NEW_FILE = 2**20
"""Size in bytes up to which the content of an untracked file is recorded."""
TRAINING_CODE = ("adaptation", "classifier", "evaluation", "images", "networks", "training")
"""Packages whose code a training runs; an interrupted training is not resumed after they have changed."""
_PLAIN = ("--no-color", "--no-ext-diff")
# DVC rewrites these files while a pipeline runs; the data that they pin is recorded as the data hash.
_NOT_CODE = (":(exclude)dvc.lock", ":(exclude)*.dvc")


@dataclass(frozen=True)
class CodeVersion:
    """Commit of the checkout and its uncommitted changes, with passwords removed; both None outside git."""

    commit: str | None
    diff: str | None

    @property
    def dirty(self) -> bool:
        """Whether the code differed from the commit."""
        return bool(self.diff)


def read_code_version(folder: Path) -> CodeVersion:
    """Read the commit and the uncommitted changes of the checkout at `folder`.

    The changes include untracked files that git does not ignore.
    """
    commit = git("rev-parse", "HEAD", folder=folder)
    parts = [git("diff", *_PLAIN, "HEAD", "--", ".", *_NOT_CODE, folder=folder)]
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", ".", *_NOT_CODE, folder=folder) or ""
    for name in filter(None, new.split("\0")):
        if (folder / name).stat().st_size > LARGEST_NEW_FILE:
            parts.append(f"# new file, too large to show: {name}")
        else:
            # git exits with 1 if the two files differ, and a new file always differs from /dev/null.
            parts.append(git("diff", *_PLAIN, "--no-index", "--", "/dev/null", name, folder=folder, fine=1))
    return CodeVersion(commit, public("\n".join(part for part in parts if part)) or None)


def source_tags(code: CodeVersion, command: str) -> dict[str, str | None]:
    """Return the tags of a training, search or trial about its code, the command that made it, and the user."""
    return {
        "git_commit": code.commit,
        "git_dirty": str(code.dirty).lower(),
        "mlflow.source.git.commit": code.commit,
        "mlflow.source.name": f"mergershift {command}",
        "mlflow.user": _user(),
        "dvc_stage": os.environ.get("DVC_STAGE"),
        "dvc_experiment": os.environ.get("DVC_EXP_NAME"),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return str(os.getuid())


def code_hash(*further: str) -> str:
    """Hash all code that a training runs and the `further` files of the package, named by their paths within it."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in TRAINING_CODE for path in (package / folder).rglob("*.py"))
    files += [package / name for name in further]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
