"""Which code made a result: commit, and what differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergershift.project import git

# DVC rewrites these while a pipeline runs; what they pin is recorded as the data hash.
NOT_CODE = (":(exclude)dvc.lock", ":(exclude)*.dvc")


@dataclass(frozen=True)
class Lineage:
    """Commit of the checkout and its uncommitted changes; both None outside git."""

    commit: str | None
    diff: str | None

    @property
    def dirty(self) -> bool:
        """Whether the code was other than the commit's."""
        return bool(self.diff)


def lineage(folder: Path) -> Lineage:
    """Read commit and changes, with new files that git does not ignore, of the checkout at `folder`."""
    commit = git("rev-parse", "HEAD", folder=folder)
    diff = git("diff", "HEAD", "--", ".", *NOT_CODE, folder=folder)
    new = git("ls-files", "--others", "--exclude-standard", "--", ".", *NOT_CODE, folder=folder)
    if new:
        diff = "\n".join([diff or "", *(f"# new file: {name}" for name in new.splitlines())]).lstrip("\n")
    return Lineage(commit, diff)
