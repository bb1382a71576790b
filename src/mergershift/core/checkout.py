"""Locating the project: the checkout that a command works in, and the main checkout behind a worktree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mergershift.core.errors import UserError


def root() -> Path:
    """Return the root of the checkout, the nearest folder at or above the working directory with dvc.yaml and conf/.

    Raises UserError outside a checkout.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "conf").is_dir():
            return folder
    raise UserError(
        f"{here}: neither this folder nor one above it contains dvc.yaml and conf/.\n"
        "Run the command inside a checkout of mergershift (git clone, then cd into it)."
    )


def git(*arguments: str, folder: Path, fine: int = 0) -> str | None:
    """Run a git command and return its output without trailing newlines.

    Returns None if git is missing or exits with a status above `fine`.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    if not 0 <= done.returncode <= fine:
        return None
    # A diff contains whatever the changed files contain, in any encoding.
    return done.stdout.decode(errors="replace").rstrip("\n")


def main_checkout() -> Path:
    """Return the checkout that owns state/ and the tracking database, even when called from one of its worktrees."""
    here = root()
    common = git("rev-parse", "--path-format=absolute", "--git-common-dir", folder=here)
    if common and Path(common).name == ".git" and (Path(common).parent / "dvc.yaml").is_file():
        return Path(common).parent
    return here
