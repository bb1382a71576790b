"""Git worktrees that mirror the working tree and share its DVC cache, so that cells can run in parallel."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from mergershift.core.errors import UserError, first_line
from mergershift.core.processes import end_processes, kill_processes, variable_of
from mergershift.pipeline.dvc import checkout_outputs, share_cache

if TYPE_CHECKING:
    import psutil

MARK = "MERGERSHIFT_WORKTREE"
"""Environment variable of every process that runs in a worktree; its value is the worktree's folder."""
KEPT = ".dvc/tmp/btime"
"""File by which DVC recognises its database of hashes for this folder; other leftovers of a killed run are deleted."""
# Git hooks set these variables; they would redirect every git command to another checkout.
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def check(here: Path, option: str) -> None:
    """Raise UserError unless `here` is the top of a git checkout with at least one commit, as worktrees require."""
    advice = (
        f"`{option}` makes git worktrees: run it in a git checkout with a commit, or leave `{option}` out."
    )
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
    """Make the worktree `tree` match the checkout `here`, including its uncommitted and new files.

    A missing or broken worktree is created anew; files that the checkout does not have are deleted.
    """
    commit = _git(here, "rev-parse", "HEAD")
    if not _is_worktree(here, tree):
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        # Forced twice: git may still list, or have locked, a worktree that was deleted or only half created.
        _git(here, "worktree", "add", "--force", "--force", "--detach", "--no-checkout", str(tree), commit)
    for name in ("index.lock", "HEAD.lock"):
        Path(_git(tree, "rev-parse", "--path-format=absolute", "--git-path", name)).unlink(missing_ok=True)
    mirror(here, tree)
    _git(tree, "reset", "--quiet", commit)
    share_cache(here, tree)


def remove(here: Path, tree: Path) -> None:
    """Delete a worktree, and the folders that contain nothing else."""
    with suppress(UserError, OSError):
        _git(here, "worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(tree, ignore_errors=True)
    with suppress(OSError):
        os.removedirs(tree.parent)


def mirror(here: Path, tree: Path) -> None:
    """Copy the files of the checkout `here` that git tracks or would track to `tree`, byte for byte.

    All other files in `tree` are deleted, except git's own and the file by which DVC recognises its hashes.
    """
    listed = _git(here, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--exclude=/state/")
    wanted = {name for name in listed.split("\0") if (here / name).is_symlink() or (here / name).is_file()}
    _drop_others(tree, wanted | {KEPT})
    for name in wanted:
        _copy_changed(here / name, tree / name)


def link(here: Path, tree: Path, outputs: Iterable[str]) -> None:
    """Link outputs of the pipeline from the shared cache into the worktree; those that DVC does not cache are copied.

    `outputs` are paths relative to the project's root. Raises DVC's own exceptions if the cache lacks one of them.
    """
    for name in checkout_outputs(tree, outputs):
        if not os.path.lexists(tree / name):
            copy = shutil.copytree if (here / name).is_dir() else shutil.copy2
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            copy(here / name, tree / name)


def environment(here: Path, tree: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Environment `base` for a process in the worktree: marked, without git's variables, and using the copied code.

    If the code that runs now is the checkout's, the process runs the worktree's copy of it, so that an edit made in
    the meantime cannot affect results that are cached for the code as it was. If mergershift is installed from
    elsewhere, the installed code is used.
    """
    found = {name: value for name, value in base.items() if name not in ELSEWHERE}
    found |= {MARK: str(tree), "PYTHONUNBUFFERED": "1"}
    if here / "src" in Path(__file__).resolve().parents:
        paths = [str(tree / "src"), *filter(None, [base.get("PYTHONPATH")])]
        found["PYTHONPATH"] = os.pathsep.join(paths)
    return found


def same_sources(here: Path, tree: Path) -> bool:
    """Whether the code in the worktree `tree` is still that of the checkout `here`, by times and sizes.

    The checkout may have files beside it that git ignores, but no module of Python.
    """
    written, copied = sources(here), sources(tree)
    new = (name for name in written.keys() - copied.keys() if name.suffix == ".py")
    return not any(new) and all(written.get(name) == version for name, version in copied.items())


def sources(folder: Path) -> dict[Path, tuple[int, int]]:
    """Time and size of all files of the code in a checkout or worktree, by their paths in it."""
    found = {}
    for path in (folder / "src").rglob("*"):
        with suppress(FileNotFoundError):  # an editor's, for instance
            if "__pycache__" not in path.parts and S_ISREG((stat := path.stat()).st_mode):
                found[path.relative_to(folder)] = (stat.st_mtime_ns, stat.st_size)
    return found


def end_all(*folders: Path) -> None:
    """End all processes that run in worktrees at or under the folders; a training saves how far it has come."""
    end_processes(lambda process: any(_runs_in(process, folder) for folder in folders))


def kill_all(folder: Path) -> None:
    """Kill all processes that run in worktrees at or under `folder`, including orphaned ones."""
    kill_processes(lambda process: _runs_in(process, folder))


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    mark = variable_of(process, MARK)
    return mark is not None and (folder == Path(mark) or folder in Path(mark).parents)


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command without its last newline; raises UserError with git's own message if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # Hooks are meant for the user's own checkouts: DVC's hook would check out all data.
    command = ["git", "-c", f"core.hooksPath={os.devnull}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        lines = os.fsdecode(done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{folder}: `git {' '.join(arguments[:2])}` failed: {lines[-1]}.\nFix that first.")
    return os.fsdecode(done.stdout).rstrip("\n")


def _is_worktree(here: Path, tree: Path) -> bool:
    """Whether `tree` is an intact worktree: git would treat a plain folder as part of the main checkout."""
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
                with suppress(FileNotFoundError):  # one that Python renames while it compiles a module
                    os.unlink(os.path.join(folder, name))
        for name in set(subfolders).difference(links):
            with suppress(OSError):  # not empty
                os.rmdir(os.path.join(folder, name))


def _copy_changed(source: Path, target: Path) -> None:
    """Copy a file or link unless `target` is identical, so that an unchanged file keeps its time and its known hash."""
    with suppress(FileNotFoundError):  # an editor's temporary file may be deleted after it was listed
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
