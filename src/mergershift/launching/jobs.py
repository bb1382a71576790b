"""Commands that are run elsewhere, and what is known of them while they wait and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """A command to run."""

    name: str
    """Name by which the task is recognised again, for instance that of a cell."""
    command: tuple[str, ...]
    folder: Path
    """Working directory."""
    environment: Mapping[str, str]
    """All variables of the command's environment."""
    log: Path
    """File for the command's output, which is replaced."""


class Job(Protocol):
    """A task that has been given to a cluster."""

    @property
    def name(self) -> str:
        """Name of its task."""

    def poll(self) -> int | None:
        """Exit code of the command, negative for a signal that ended it; None while the job waits or runs."""

    @property
    def state(self) -> str:
        """What the job does, in words: ``waiting (Priority)``, ``running on node7``."""


class Launcher(Protocol):
    """A cluster to which jobs are sent; the jobs of an interrupted command are found again."""

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        """Send tasks as one array of jobs; as many run at a time as the launcher's configuration says."""

    def attach(self) -> list[Job]:
        """Return the jobs of earlier commands that still wait or run."""

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs and wait until they have ended."""
