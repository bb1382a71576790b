"""The record of jobs on disk: what was submitted, under which numbers, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

from pydantic import TypeAdapter

from mergershift.core.files import write_text
from mergershift.core.reading import read_json
from mergershift.launching.jobs import Task, Unreachable
from mergershift.launching.queue import CallFailed, call

_TASKS = "tasks.json"
_NUMBERS = "jobs.json"
_REMEDY = "Delete its folder; `squeue --me` shows the jobs that still run."
_LONGEST = 160


class Submission:
    """An array of jobs. Its folder may be read by nobody else, since the tasks' variables may hold passwords."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()
        self._tasks = read_json(folder / _TASKS, list[Task], _REMEDY)
        self.numbers: list[str | None] = []
        """SLURM's numbers of the jobs, in the order of the tasks; None for one that was forgotten."""
        if (folder / _NUMBERS).exists():
            self.numbers = read_json(folder / _NUMBERS, list[str | None], _REMEDY)

    @classmethod
    def create(cls, folder: Path, tasks: Sequence[Task]) -> Self:
        """Record tasks before they are submitted."""
        own = folder / f"mergershift-{time.time_ns() // 1_000_000:x}-{os.getpid():x}"
        for made in (folder, own):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.chmod(0o700)
        write_text(own / _TASKS, TypeAdapter(list[Task]).dump_json(list(tasks)).decode())
        return cls(own)

    @classmethod
    def all_in(cls, folder: Path) -> list[Self]:
        """Return all submissions that are recorded in a folder, the earliest first."""
        found = []
        for own in sorted(folder.glob("mergershift-*")):  # their names begin with the time
            if (own / _TASKS).exists():
                found.append(cls(own))
            else:  # the command was killed before it submitted anything
                shutil.rmtree(own, ignore_errors=True)
        return found

    @property
    def name(self) -> str:
        """Name of the jobs, unique among those of all users."""
        return self.folder.name

    def record(self, numbers: Sequence[str]) -> None:
        """Record the numbers of the jobs that have been submitted."""
        self.numbers = list(numbers)
        write_text(self.folder / _NUMBERS, json.dumps(self.numbers))

    def jobs(self) -> dict[str, Task]:
        """Return the tasks by the numbers of their jobs, without those that were forgotten."""
        return {number: task for number, task in zip(self.numbers, self._tasks, strict=True) if number}

    def withdraw(self) -> None:
        """Cancel all jobs of this name and forget them, as far as the controller answers."""
        with suppress(Unreachable, CallFailed):
            call(["scancel", f"--name={self.name}"])
        shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self, number: str) -> None:
        """Delete the record of a job, and that of the whole array with its last one."""
        if number not in self.numbers:
            return
        self.numbers[self.numbers.index(number)] = None
        if any(self.numbers):
            write_text(self.folder / _NUMBERS, json.dumps(self.numbers))
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def result(self, number: str, *, fresh: bool) -> tuple[str, Any] | None:
        """What a job has left as its result: "success" and a value, or "error" and a traceback; None if nothing yet.

        With `fresh`, a network file system is made to ask its server again.
        """
        from submitit.core.utils import JobPaths, pickle_load

        path = JobPaths(self.folder, job_id=number).result_pickle
        with suppress(OSError, EOFError, UnpicklingError):  # the last two: it is not all there yet
            if fresh:
                self.folder.chmod(0o700)
            outcome, value = pickle_load(path)
            return outcome, value
        return None

    def last_error(self, number: str) -> str:
        """Last line that the scheduler or the interpreter has printed about a job, in brackets; empty without one."""
        from submitit.core.utils import JobPaths

        paths = JobPaths(self.folder, job_id=number)
        with suppress(OSError):
            lines = [line.strip() for line in paths.stderr.read_text(errors="replace").splitlines()]
            errors = [line for line in lines if "error" in line.lower()]
            if errors:
                return f" ({errors[-1][:_LONGEST]})"
        return ""
