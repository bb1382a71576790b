"""Commands that are run elsewhere, what is known of them while they wait and run, and when they are run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from mergershift.core.errors import UserError

LOST = 256
"""Exit code of a job that is gone without a result: cancelled, killed, or on a node that failed."""
SIGNALS = 64
"""Largest number of a signal; a shell's exit code is 128 more."""
RETRIES = 3
"""How often a task is submitted again after it was lost or killed."""


class Unreachable(UserError):
    """The cluster's controller does not answer, as happens for minutes: what is known of jobs stays valid."""


@dataclass(frozen=True)
class Task:
    """A command to run."""

    name: str
    """Name by which the task is recognised again, for instance that of a cell."""
    command: tuple[str, ...]
    folder: Path
    """Working directory."""
    environment: Mapping[str, str]
    """Variables in addition to those that the cluster gives a job."""
    log: Path
    """File for the command's output. It is replaced, but continued by a job that the cluster has queued again."""
    attempt: int = 0
    """How often the task was submitted before."""


class Job(Protocol):
    """A task that has been given to a cluster."""

    @property
    def task(self) -> Task:
        """What the job runs."""

    def poll(self) -> int | None:
        """Exit code of the command, negative for a signal that ended it, or `LOST`; None while it waits or runs."""

    @property
    def state(self) -> str:
        """What the job does, in words: ``waiting (Priority)``, ``running on node7``; once it is lost, why."""


class Launcher(Protocol):
    """A cluster to which jobs are sent; the jobs of an earlier command are found again."""

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        """Send tasks as one array of jobs; as many run at a time as the launcher's configuration says.

        Raises Unreachable if the controller does not answer, and UserError if it refuses the jobs.
        """

    def attach(self) -> list[Job]:
        """Return the jobs of earlier commands that were not forgotten, at most one for each name of a task.

        Jobs that have ended in the meantime are among them.
        """

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs and wait until they have ended; raises UserError if they do not within minutes."""

    def forget(self, jobs: Sequence[Job]) -> None:
        """Delete the records of jobs that have ended."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended."""

    job: Job
    code: int
    again: Job | None
    """The job that runs the task once more; None if it has ended well or for good."""


def was_killed(code: int) -> bool:
    """Whether a command with this exit code was ended from outside, so that it may do better when it is run again."""
    return code < 0 or 128 < code <= 128 + SIGNALS or code == LOST


def collect(launcher: Launcher, jobs: Sequence[Job]) -> list[Ended]:
    """Return those of the jobs that have ended and forget them, after submitting again what was lost or killed.

    A job that has to be submitted again while the controller does not answer is left for the next call.
    """
    ended = {job: code for job in jobs if (code := job.poll()) is not None}
    repeated = [job for job, code in ended.items() if was_killed(code) and job.task.attempt < RETRIES]
    again: dict[Job, Job] = {}
    if repeated:
        try:
            # A job that seems lost must not come back beside the one that replaces it.
            launcher.cancel([job for job in repeated if ended[job] == LOST])
            tasks = [replace(job.task, attempt=job.task.attempt + 1) for job in repeated]
            again = dict(zip(repeated, launcher.submit(tasks), strict=True))
        except Unreachable:
            ended = {job: code for job, code in ended.items() if job not in repeated}
    launcher.forget(list(ended))
    return [Ended(job, code, again.get(job)) for job, code in ended.items()]
