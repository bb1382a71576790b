"""A DVC cache that several checkouts of a machine share, so that the same results take up disk space once.

One of the modules that use DVC's Python interface; `dvc` lists what.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from mergershift.core.errors import UserError
from mergershift.core.words import counted
from mergershift.pipeline.dvc import private_config
from mergershift.pipeline.team_check import Check
from mergershift.pipeline.team_faults import NO_SUCH_FOLDER, OPEN_TO_THE_GROUP

OWN = ".dvc/cache"
_PARTS = ("files/md5", "runs")
"""Folders of a cache: results, and the record of which command made them of what."""
_WORDS = {
    "reflink": "copies on write",
    "hardlink": "hard links",
    "symlink": "symbolic links",
    "copy": "copies",
}


def read_cache(here: Path) -> Path:
    """Return the folder of the checkout's cache, shared or not."""
    from dvc.config import Config

    chosen = Config(str(here / ".dvc"))["cache"].get("dir")
    return Path(str(chosen)) if chosen else here / OWN


def parse_cache(given: Path, here: Path) -> Path:
    """Return the folder of a cache to share; raises UserError unless it is an absolute path outside the checkout."""
    folder = given.expanduser()
    if not folder.is_absolute() or folder.resolve().is_relative_to(here.resolve()):
        raise UserError(
            f"--cache {given}: expected the absolute path of a folder outside of this checkout.\n"
            "Give a folder of this machine that all of you can write to."
        )
    return folder


def check_cache(folder: Path, here: Path, check: Check) -> None:
    """Check that a cache can be written to, and which kind of links lead from it into the checkout."""
    from dvc.config import Config
    from dvc.fs import localfs
    from dvc_objects.fs.generic import test_links

    kinds = [str(kind) for kind in Config(str(here / ".dvc"))["cache"].get("type") or ("reflink", "copy")]
    shared = folder != here / OWN
    if shared and not folder.is_dir():
        check.fail(f"{folder}: the folder does not exist on this machine", NO_SUCH_FOLDER)
        return
    try:
        links = test_links(kinds, localfs, str(folder), localfs, str(here / ".dvc/tmp/link"))
    except OSError as error:
        check.fail(
            f"{folder}: cannot be written to ({error.strerror or error})",
            OPEN_TO_THE_GROUP,
        )
        return
    closed = [path for path in _folders(folder) if not os.access(path, os.W_OK | os.X_OK)]
    if closed:
        check.fail(
            f"{closed[0]}: not writable for you"
            + (f", nor are {len(closed) - 1} more" if closed[1:] else ""),
            "have whoever created them run `chmod -R g+rwX` on the cache",
        )
        return
    kind = links[0] if links else "copy"
    check.ok, check.found = True, f"{folder}: {_WORDS.get(kind, kind)} into this checkout"
    if kind == "copy":
        check.notes.append(
            "Its results are copied into the checkout: for links, keep both on the same file system."
        )
    elif kind == "symlink":
        check.notes.append("It is on another file system than the checkout, hence no hard links.")
    if shared and not folder.stat().st_mode & stat.S_IWGRP:
        check.notes.append("Only its owner may write there: for a group, `chmod g+ws` it and `chgrp` it.")


def use_cache(here: Path, folder: Path) -> list[str]:
    """Make the checkout use a shared cache, with what its own one holds; returns what was done, one sentence each."""
    from dvc.config import Config

    before = read_cache(here)
    if before == folder:
        return []
    copied = _copy(before, folder)
    with private_config(here), Config(str(here / ".dvc")).edit("local") as local:
        local["cache"] |= {"dir": str(folder), "shared": "group"}
    notes = []
    if copied:
        notes.append(
            f"{counted(copied, 'object')} of {before} copied there; `dvc checkout --relink` links this checkout's "
            "results to them, and the former cache can then be deleted."
        )
    return notes


def _copy(source: Path, target: Path) -> int:
    """Copy the objects that another cache lacks, readable by all and in folders of the group; returns their number."""
    copied = 0
    for part in _PARTS:
        for path in sorted((source / part).rglob("*")):
            other = target / path.relative_to(source)
            if not path.is_file() or other.exists():
                continue
            for parent in reversed(other.relative_to(target).parents[:-1]):
                if not (target / parent).is_dir():
                    (target / parent).mkdir()
                    (target / parent).chmod(0o2775)
            partial = other.with_name(f".{other.name}.{os.getpid()}")
            shutil.copyfile(path, partial)
            partial.chmod(0o444 if part != "runs" else 0o664)
            partial.replace(other)
            copied += 1
    return copied


def _folders(cache: Path) -> list[Path]:
    return [
        path
        for part in _PARTS
        if (cache / part).is_dir()
        for path in (cache / part).iterdir()
        if path.is_dir()
    ]
