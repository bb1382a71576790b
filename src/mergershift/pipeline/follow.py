"""Jobs of cells on a cluster, followed in the live table until they have ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from mergershift.launching.jobs import LOST, Job, Launcher, collect, was_killed
from mergershift.pipeline.dashboard import Dashboard
from mergershift.pipeline.dvc import reason
from mergershift.pipeline.graph import CellStages

_POLL_SECONDS = 0.5


def follow(
    launcher: Launcher, cells: Mapping[str, CellStages], jobs: list[Job], state: Path
) -> dict[CellStages, str]:
    """Follow the jobs of cells until all have ended, in the live table; returns how those ended that failed.

    Args:
        launcher: where they run. Those that it has lost are submitted again.
        cells: cells of the table by name.
        jobs: jobs that wait or run; the list is kept up to date.
        state: folder in which trainings write their progress.
    """
    failed: dict[CellStages, str] = {}
    running: set[str] = set()
    with Dashboard(list(cells), state) as dashboard:
        while jobs:
            for ended in collect(launcher, jobs):
                name, how = ended.job.task.name, _how(ended.job, ended.code)
                jobs.remove(ended.job)
                if name not in running:
                    dashboard.start(name, ended.job.task.log)
                running.discard(name)
                if ended.again:
                    jobs.append(ended.again)
                    dashboard.retry(name, how, "it is submitted again")
                    continue
                if ended.code:
                    repeated = f", {ended.job.task.attempt + 1} times" if was_killed(ended.code) else ""
                    failed[cells[name]] = f"{how}{repeated}"
                dashboard.end(name, failed=ended.code != 0)
            for job in jobs:
                _show(dashboard, job, running)
            dashboard.draw()
            time.sleep(_POLL_SECONDS)
    return failed


def _show(dashboard: Dashboard, job: Job, running: set[str]) -> None:
    """Show what a job does; `running` are the names of those that have been running so far."""
    name, state = job.task.name, job.state
    if state.startswith("waiting"):
        if name in running:
            running.discard(name)
            dashboard.retry(name, "interrupted by the cluster", "its job is queued again")
        dashboard.wait(name, state.removeprefix("waiting").strip())
        return
    if name not in running:
        running.add(name)
        dashboard.start(name, job.task.log)
    dashboard.note(name, state.removeprefix("running").strip())


def _how(job: Job, code: int) -> str:
    return job.state if code == LOST or job.state != "ended" else reason(code)
