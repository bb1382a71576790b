"""DVC's list of files in use, without processes that have ended.

DVC itself drops an entry whose process number nobody has. But a process that was killed in a container leaves a small
number, which on the machine itself, or in the next container, is that of another process: DVC would wait for that one.
One that was killed while it wrote the list leaves a part of it, which DVC refuses to read.
"""

from __future__ import annotations

from pathlib import Path

HOLDERS = {"dvc", "mergershift", "mergershift.pipeline.dvc", "mergershift.pipeline.warm"}
"""Programs and modules that take DVC's locks."""


def drop_stale_locks(checkout: Path) -> None:
    """Remove the entries of processes under whose numbers other programs run now, or a list that is torn."""
    from dvc.fs import localfs
    from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError, _edit_rwlock

    folder = checkout / ".dvc" / "tmp"
    if not (folder / RWLOCK_FILE).is_file():
        return
    try:
        with _edit_rwlock(str(folder), localfs, hardlink=False) as lock:
            for path, holders in list(lock["read"].items()):
                lock["read"][path] = [holder for holder in holders if _may_hold(holder["pid"])]
            for path, holder in list(lock["write"].items()):
                if holder and not _may_hold(holder["pid"]):
                    del lock["write"][path]
            lock["read"] = {path: holders for path, holders in lock["read"].items() if holders}
    except RWLockFileCorruptedError:  # DVC writes it anew
        (folder / RWLOCK_FILE).unlink(missing_ok=True)


def _may_hold(pid: int) -> bool:
    """Whether a process is one of `HOLDERS`; those of other users may hide it."""
    import psutil

    try:
        command = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False
    except (psutil.Error, OSError):
        return True
    return not HOLDERS.isdisjoint(Path(word).name for word in command)
