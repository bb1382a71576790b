"""The command of a job that runs a cell on a cluster: DVC, in a worktree that no other process uses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mergershift.pipeline.dvc import main as dvc_main
from mergershift.pipeline.worktrees import ELSEWHERE

LOCKS = ("lock", "rwlock", "rwlock.lock")


def job_command(*arguments: str) -> tuple[str, ...]:
    """Return the command that runs DVC in a job; see `main`."""
    return (sys.executable, "-m", "mergershift.pipeline.job", *arguments)


def main(arguments: Sequence[str]) -> int:
    """Run DVC's command line in the working directory, the job's own worktree; returns the exit code.

    An earlier start of the same job may have been killed, on another machine. DVC would take the number of its process,
    in the lock that it has left behind, for a process of this one, and wait for it.
    """
    for name in LOCKS:
        Path(".dvc/tmp", name).unlink(missing_ok=True)
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    return dvc_main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
