"""Which code made a result: commit, what differs from it, and a hash of all that a training computes with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mergershift.core.checkout import git
from mergershift.core.redaction import public

LARGEST_NEW_FILE = 2**20
TRAINING_CODE = ("adaptation", "classifier", "evaluation", "images", "networks", "training")
"""Packages that a training computes with; an interrupted one is not resumed by other code."""
_PLAIN = ("--no-color", "--no-ext-diff")
# DVC rewrites these while a pipeline runs; what they pin is recorded as the data hash.
_NOT_CODE = (":(exclude)dvc.lock", ":(exclude)*.dvc")


@dataclass(frozen=True)
class CodeVersion:
    """Commit of the checkout and its uncommitted changes, without passwords; both None outside git."""

    commit: str | None
    diff: str | None

    @property
    def dirty(self) -> bool:
        """Whether the code was other than the commit's."""
        return bool(self.diff)


def read_code_version(folder: Path) -> CodeVersion:
    """Read commit and changes, with new files that git does not ignore, of the checkout at `folder`."""
    commit = git("rev-parse", "HEAD", folder=folder)
    parts = [git("diff", *_PLAIN, "HEAD", "--", ".", *_NOT_CODE, folder=folder)]
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", ".", *_NOT_CODE, folder=folder) or ""
    for name in filter(None, new.split("\0")):
        if (folder / name).stat().st_size > LARGEST_NEW_FILE:
            parts.append(f"# new file, too large to show: {name}")
        else:
            # It exits with 1 where the two differ, which a new file and nothing always do.
            parts.append(git("diff", *_PLAIN, "--no-index", "--", "/dev/null", name, folder=folder, fine=1))
    return CodeVersion(commit, public("\n".join(part for part in parts if part)) or None)


def code_hash(*further: str) -> str:
    """Hash of all code that a training computes with, and of `further` files of the package."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in TRAINING_CODE for path in (package / folder).rglob("*.py"))
    files += [package / name for name in further]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
