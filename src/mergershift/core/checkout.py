"""Locating the project: the checkout that a command works in, and those behind a copy and behind a git worktree."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mergershift.core.errors import UserError

DATA = "data"
"""Folder of the archive, relative to the checkout."""
COPIES = (("state", "worktrees"), ("state", "cluster"), (".dvc", "tmp", "exps"))
"""Folders of a checkout under which the pipeline (`--jobs`, `--on`) and DVC (`dvc exp run --temp`, `dvc queue`) make
copies of it to run stages in."""


def root() -> Path:
    """Return the root of the checkout, the nearest folder at or above the working directory with dvc.yaml and conf/.

    Raises UserError outside a checkout.
    """
    here = Path.cwd()
    found = enclosing(here)
    if found is None:
        raise UserError(
            f"{here}: neither this folder nor one above it contains dvc.yaml and conf/.\n"
            "Run the command inside a checkout of mergershift (git clone, then cd into it)."
        )
    return found


def shown(path: Path) -> str:
    """Write a path as it can be given to the next command: relative to the working directory if it is below it."""
    path, here = path.resolve(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def enclosing(folder: Path) -> Path | None:
    """Return the checkout that contains `folder`; None if there is none."""
    return next((place for place in (folder, *folder.parents) if _is_checkout(place)), None)


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


def workspace() -> Path:
    """Return the checkout that the user works in, which owns state/: `root()`, or the one that it is a copy of.

    A git worktree that the user has made is a workspace of its own.
    """
    here = root()
    for folder in here.parents:
        for inside in COPIES:
            owner = Path(*folder.parts[: -len(inside)])
            if folder.parts[-len(inside) :] == inside and _is_checkout(owner):
                return owner
    return here


def is_temporary() -> bool:
    """Whether DVC has made this checkout for an experiment and will delete it afterwards."""
    return root().relative_to(workspace()).parts[:1] == (".dvc",)


def main_checkout() -> Path:
    """Return the main checkout behind all git worktrees, which owns the databases and the ledger of test evaluations.

    Raises UserError if the main checkout has been moved, so that nothing is recorded where nobody looks for it.
    """
    here = workspace()
    pointer = here / ".git"
    if not pointer.is_file():
        return here
    gitdir = here / pointer.read_text().removeprefix("gitdir:").strip()
    try:
        common = (gitdir / (gitdir / "commondir").read_text().strip()).resolve()
    except FileNotFoundError as error:
        if gitdir.is_dir():  # a submodule
            return here
        raise UserError(
            f"{here}: a git worktree whose main checkout is no longer at {gitdir}.\n"
            f"Run `git worktree repair '{here}'` in the main checkout."
        ) from error
    return common.parent if common.name == ".git" and _is_checkout(common.parent) else here


def _is_checkout(folder: Path) -> bool:
    return (folder / "dvc.yaml").is_file() and (folder / "conf").is_dir()
