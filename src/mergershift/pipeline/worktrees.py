"""Git worktrees that hold what the working tree holds and share its DVC cache, so that cells can run side by side."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from pathlib import Path

import psutil

from mergershift.core.errors import UserError, first_line
from mergershift.pipeline.dvc import checkout_outputs, share_cache

MARK = "MERGERSHIFT_WORKTREE"
"""Environment variable of all that runs in a worktree; its value is the worktree's folder."""
KEPT = ".dvc/tmp/btime"
"""By this file DVC knows that its database of hashes is this folder's; all else that a killed run left goes."""
# Set inside git hooks; they would send every git command to another checkout.
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def check(here: Path) -> None:
    """Raise UserError where `here` is not the top of a git checkout with a commit, of which worktrees can be made."""
    advice = "`--jobs` makes git worktrees: run it in a git checkout with a commit, or leave `--jobs` out."
    try:
        top = _git(here, "rev-parse", "--show-toplevel")
    except (UserError, OSError) as error:
        raise UserError(f"{first_line(error)}\n{advice}") from error
    if not os.path.samefile(top, here):
        raise UserError(f"{here}: not the top of its git checkout, which is {top}.\n{advice}")
    try:
        _git(here, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except UserError as error:
        raise UserError(f"{here}: a git checkout without a commit.\n{advice}") from error


def refresh(here: Path, tree: Path) -> None:
    """Bring the worktree `tree` to the content of the checkout `here`, uncommitted and new files included.

    It is made where it is missing or broken; what else lies there goes.
    """
    commit = _git(here, "rev-parse", "HEAD")
    if not _is_worktree(here, tree):
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        # Forced twice: git still lists, and may have locked, one whose folder went or that a kill left half made.
        _git(here, "worktree", "add", "--force", "--force", "--detach", "--no-checkout", str(tree), commit)
    for name in ("index.lock", "HEAD.lock"):
        Path(_git(tree, "rev-parse", "--path-format=absolute", "--git-path", name)).unlink(missing_ok=True)
    mirror(here, tree)
    _git(tree, "reset", "--quiet", commit)
    share_cache(here, tree)


def mirror(here: Path, tree: Path) -> None:
    """Make the files in `tree` those of the checkout `here` that git tracks or would track, byte by byte.

    All others are removed from it, save what git itself keeps there and the file by which DVC knows its hashes.
    """
    listed = _git(here, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--exclude=/state/")
    wanted = {name for name in listed.split("\0") if (here / name).is_symlink() or (here / name).is_file()}
    _drop_others(tree, wanted | {KEPT})
    for name in wanted:
        _bring(here / name, tree / name)


def link(here: Path, tree: Path, outputs: Iterable[str]) -> None:
    """Link outputs of the pipeline (paths from the root) out of the shared cache into the worktree.

    What DVC does not keep in its cache is copied. Raises DVC's own exceptions where the cache lacks one.
    """
    for name in checkout_outputs(tree, outputs):
        if not os.path.lexists(tree / name):
            copy = shutil.copytree if (here / name).is_dir() else shutil.copy2
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy(here / name, tree / name)


def environment(here: Path, tree: Path, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with the worktree's mark, without git's variables, and with the worktree's own copy of the code.

    The copy runs where the code that runs now is the checkout's, so that an edit made meanwhile takes no part in a
    result that is stored under the code as it was. Installed from elsewhere, the code stays what is installed.
    """
    found = {name: value for name, value in base.items() if name not in ELSEWHERE}
    found |= {MARK: str(tree), "PYTHONUNBUFFERED": "1"}
    if here / "src" in Path(__file__).resolve().parents:
        paths = [str(tree / "src"), *filter(None, [base.get("PYTHONPATH")])]
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found


def end_all(folder: Path) -> None:
    """Kill whatever runs in worktrees at or under `folder`: what has no parent any more, too."""
    for _ in range(5):  # what was being forked while the first round looked
        found = [process for process in psutil.process_iter() if _runs_in(process, folder)]
        if not found:
            return
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        mark = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return False
    return mark is not None and (folder == Path(mark) or folder in Path(mark).parents)


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command without its last newline; raises UserError with git's own words where it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # Hooks are made for the user's own checkouts: DVC's would link all data out.
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        words = os.fsdecode(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{folder}: `git {' '.join(arguments[:2])}` failed: {words[-1]}.\nMend that first.")
    return os.fsdecode(done.stdout).rstrip("\n")


def _is_worktree(here: Path, tree: Path) -> bool:
    """Whether `tree` is a whole worktree of its own: git would take a plain folder for part of the main checkout."""
    if not (tree / ".git").is_file():
        return False
    common = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    try:
        top = _git(tree, "rev-parse", "--show-toplevel")
        _git(tree, "rev-parse", "--verify", "HEAD^{commit}")
        return os.path.samefile(top, tree) and os.path.samefile(_git(tree, *common), _git(here, *common))
    except (UserError, OSError):
        return False


def _drop_others(tree: Path, wanted: Set[str]) -> None:
    for folder, subfolders, files in os.walk(tree, topdown=False):
        inside = os.path.relpath(folder, tree)
        if inside.split(os.sep)[0] == ".git":
            continue
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            path = os.path.normpath(os.path.join(inside, name))
            if path != ".git" and path not in wanted:
                os.unlink(os.path.join(folder, name))
        for name in set(subfolders).difference(links):
            with suppress(OSError):  # not empty
                os.rmdir(os.path.join(folder, name))


def _bring(source: Path, target: Path) -> None:
    """Copy a file or link unless it is there already; an unchanged file keeps its time, and so its known hash."""
    with suppress(FileNotFoundError):  # of an editor, gone since it was listed
        before, after = source.lstat(), target.lstat() if os.path.lexists(target) else None
        if after is not None and before.st_mode == after.st_mode:
            if source.is_symlink():
                if os.readlink(source) == os.readlink(target):
                    return
            elif before.st_size == after.st_size and filecmp.cmp(source, target, shallow=False):
                return
        if after is not None:
            target.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
