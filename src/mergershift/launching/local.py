"""Processes on this machine, as jobs."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

from mergershift.core.processes import GRACE_SECONDS, environment
from mergershift.launching.jobs import Job, Task


class LocalProcess:
    """A task that runs in a process of this machine."""

    def __init__(self, task: Task) -> None:
        self.task = task
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with task.log.open("wb") as log:
            self.process = subprocess.Popen(
                task.command,
                cwd=task.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment() | dict(task.environment),
                # In its own session it does not receive the terminal's Ctrl-C, only the signal of `cancel`.
                start_new_session=True,
            )

    @property
    def state(self) -> str:
        """What the process does, or how it ended."""
        code = self.poll()
        return "running" if code is None else f"ended with exit code {code}"

    def poll(self) -> int | None:
        """Exit code, negative for a signal that ended the process; None while it runs."""
        return self.process.poll()


class LocalProcesses:
    """A launcher on this machine; the processes end with the command that started them."""

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        """Start all tasks at once."""
        return [LocalProcess(task) for task in tasks]

    def attach(self) -> list[Job]:
        """Return no job: no process survives the command that started it."""
        return []

    def cancel(self, jobs: Sequence[Job]) -> None:
        """End the processes: by SIGTERM, and by SIGKILL those that still run `GRACE_SECONDS` later."""
        processes = [job.process for job in jobs if isinstance(job, LocalProcess)]
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def forget(self, jobs: Sequence[Job]) -> None:
        """Do nothing: no job is recorded."""
