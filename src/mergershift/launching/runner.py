"""What runs inside a job on the cluster: the task's command, until it ends or the scheduler stops the job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from mergershift.core.processes import STOP_SIGNALS, end_processes, environment, variable_of
from mergershift.launching.jobs import Task, Unreachable
from mergershift.launching.queue import CallFailed, call

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

JOB = "MERGERSHIFT_JOB"
"""Environment variable of all processes that a job has started; its value identifies this start of the job."""
_POLL_SECONDS = 0.2
_ARRIVAL_SECONDS = 3.0
"""The scheduler signals the processes of a job one after the other: how long this one may have to wait for its turn."""


@dataclass(frozen=True)
class Runner:
    """Runs a command; submitit calls it inside the job, and `checkpoint` when the job is about to be interrupted.

    The scheduler's signals reach the command itself as well, which then saves how far it has come. A job that is
    stopped in this way leaves no result: either it is queued again, or it has been cancelled.

    Clusters announce a preemption in two ways: by the signal that submitit asks for, or by a SIGTERM some time before
    they end the job. A job that got a SIGTERM while the queue lists it as running is queued again at once.
    """

    task: Task

    def __call__(self) -> int:
        """Run the command and return its exit code, negative for a signal that ended it."""
        stopped: list[int] = []

        def stop(number: int, _frame: FrameType | None) -> None:
            stopped.append(number)

        signal.signal(signal.SIGTERM, stop)  # submitit's own handler would only log it
        restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        self.task.log.parent.mkdir(parents=True, exist_ok=True)
        with self.task.log.open("ab" if restarted else "wb") as log:
            process = subprocess.Popen(
                self.task.command,
                cwd=self.task.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment() | dict(self.task.environment) | {JOB: _mark()},
            )
        while process.poll() is None and not stopped:
            time.sleep(_POLL_SECONDS)
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while _by_stop_signal(process.poll()) and not stopped and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        _end_all()
        if stopped:
            _queue_again_if_running()
            sys.exit(128 + stopped[0])
        return process.wait()

    def checkpoint(self) -> DelayedSubmission:
        """Wait until the command has saved and ended; returns what the job runs when it is queued again."""
        from submitit.core.utils import DelayedSubmission

        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # a second one would interrupt this
        _end_all()
        return DelayedSubmission(self)


def _queue_again_if_running() -> None:
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID", "")
    with suppress(CallFailed, Unreachable):  # the command that follows the job submits it again then
        if call(["squeue", "--noheader", "--format=%T", f"--jobs={job}"]).strip() == "RUNNING":
            call(["scontrol", "requeue", job])


def _mark() -> str:
    job, start = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "0")
    return f"{job}.{start}.{os.getpid()}"


def _end_all() -> None:
    """End what the job has started, including processes that their starter has left behind."""
    mark = _mark()
    end_processes(lambda process: variable_of(process, JOB) == mark)


def _by_stop_signal(code: int | None) -> bool:
    return code is not None and any(code in (-number, 128 + number) for number in STOP_SIGNALS)
