"""Where the project's folders are: the checkout that commands work in, and the main checkout behind a worktree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mergershift.core.errors import UserError


def root() -> Path:
    """Folder with dvc.yaml and conf/, found upward from the working directory; raises UserError elsewhere."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "conf").is_dir():
            return folder
    raise UserError(
        f"{here}: no dvc.yaml with a conf/ folder here or above.\n"
        "Run this inside a checkout of mergershift (git clone, then cd into it)."
    )


def git(*arguments: str, folder: Path, fine: int = 0) -> str | None:
    """Output of a git command, without its last newline; None where it exits above `fine` or git is missing."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=False)
    except OSError:
        return None
    if not 0 <= done.returncode <= fine:
        return None
    # A diff holds whatever the changed files hold, in any encoding.
    return done.stdout.decode(errors="replace").rstrip("\n")


def main_checkout() -> Path:
    """The checkout that owns state/ and the tracking database, also when called in one of its worktrees."""
    here = root()
    common = git("rev-parse", "--path-format=absolute", "--git-common-dir", folder=here)
    if common and Path(common).name == ".git" and (Path(common).parent / "dvc.yaml").is_file():
        return Path(common).parent
    return here
