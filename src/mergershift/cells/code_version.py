"""Which code made a result: commit, and what differs from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mergershift.core.checkout import git
from mergershift.core.redaction import public

# DVC rewrites these while a pipeline runs; what they pin is recorded as the data hash.
PLAIN = ("--no-color", "--no-ext-diff")
LARGEST_NEW_FILE = 2**20
NOT_CODE = (":(exclude)dvc.lock", ":(exclude)*.dvc")


@dataclass(frozen=True)
class Lineage:
    """Commit of the checkout and its uncommitted changes, without passwords; both None outside git."""

    commit: str | None
    diff: str | None

    @property
    def dirty(self) -> bool:
        """Whether the code was other than the commit's."""
        return bool(self.diff)


def lineage(folder: Path) -> Lineage:
    """Read commit and changes, with new files that git does not ignore, of the checkout at `folder`."""
    commit = git("rev-parse", "HEAD", folder=folder)
    parts = [git("diff", *PLAIN, "HEAD", "--", ".", *NOT_CODE, folder=folder)]
    new = git("ls-files", "-z", "--others", "--exclude-standard", "--", ".", *NOT_CODE, folder=folder) or ""
    for name in filter(None, new.split("\0")):
        if (folder / name).stat().st_size > LARGEST_NEW_FILE:
            parts.append(f"# new file, too large to show: {name}")
        else:
            # It exits with 1 where the two differ, which a new file and nothing always do.
            parts.append(git("diff", *PLAIN, "--no-index", "--", "/dev/null", name, folder=folder, fine=1))
    return Lineage(commit, public("\n".join(part for part in parts if part)) or None)
