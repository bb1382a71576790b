"""`mergershift repro --on NAME`: run the cells of the pipeline as jobs on a cluster, each in its own worktree.

The jobs outlive this command: the next one follows those that still wait or run, and finds the results of the others in
the shared cache.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergershift.config import Config
from mergershift.config.launcher import LauncherConfig, read_launcher
from mergershift.core.checkout import root, workspace
from mergershift.core.database_files import sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.processes import Hangup, interrupted_by
from mergershift.core.progress import progress_bar
from mergershift.core.words import counted
from mergershift.launching.jobs import Job, Launcher, Task, was_killed
from mergershift.pipeline import parallel, worktrees
from mergershift.pipeline.dvc import dvc_repro, finish, quiet_dvc
from mergershift.pipeline.follow import follow
from mergershift.pipeline.graph import CellStages, PipelinePlan, survey
from mergershift.pipeline.job import job_command
from mergershift.pipeline.results import Remote

FOLDER = "cluster"
"""Folder in state/ with the jobs' records and worktrees."""
NOWHERE = "http://127.0.0.1:9"
"""Address at which no tracking server answers: what a training would send is published when its job has ended."""


@dataclass(frozen=True)
class Cluster:
    """Where the cells of a checkout run."""

    here: Path
    state: Path
    launcher: Launcher
    variables: dict[str, str]
    """Variables of the jobs."""

    @property
    def logs(self) -> Path:
        """Folder of the cells' logs."""
        return self.state / "logs"

    def tree(self, cell: CellStages) -> Path:
        """Worktree of a cell, used by its job alone."""
        return self.state / FOLDER / "trees" / cell.name

    def submit(self, cells: Sequence[CellStages]) -> list[Job]:
        """Make the cells' worktrees, and send them as one array of jobs."""
        tasks = []
        with quiet_dvc(), progress_bar("preparing worktrees", len(cells)) as advance:
            for cell in cells:
                tree = self.tree(cell)
                worktrees.refresh(self.here, tree)
                worktrees.link(self.here, tree, cell.inputs)
                base = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
                tasks.append(
                    Task(
                        name=cell.name,
                        command=job_command("repro", "--single-item", *cell.stages),
                        folder=tree,
                        environment=worktrees.environment(self.here, tree, base) | self.variables,
                        log=parallel.log_of(self.logs, cell),
                    )
                )
                advance(1)
        return self.launcher.submit(tasks)


def records() -> Path:
    """Folder with the records of the jobs of this checkout."""
    return workspace() / "state" / FOLDER / "jobs" / "repro"


def require_no_jobs() -> None:
    """Raise UserError if jobs of an earlier command may still run the cells of this checkout."""
    if any(records().glob("*/tasks.json")):
        raise UserError(
            f"{records()}: jobs of an earlier `mergershift repro --on NAME` may still run.\n"
            "Follow them with `--on NAME --attach`, where Ctrl-C cancels them, or delete that folder if there are none."
        )


def repro(name: str, config: Config, remote: Remote | None = None, *, attach: bool = False) -> bool:
    """Run the stages that the cells need, then the outdated cells as jobs, and then all later stages.

    Jobs of an earlier command that still wait or run are followed rather than submitted again. With `attach` nothing is
    submitted except what an earlier command has submitted and the cluster has lost.

    Args:
        name: name of a file in conf/launcher/.
        config: the study's configuration: its trainer, and where its runs are recorded.
        remote: what the command has found out about DVC's remote so far.
        attach: only follow the jobs of an earlier command.

    Returns:
        Whether the whole pipeline is up to date.

    Raises:
        UserError: if a cell fails, after all others have ended; and if the cluster refuses the jobs.
    """
    from mergershift.launching.slurm import Slurm

    here, state = root(), workspace() / "state"
    launcher_config = read_launcher(name)
    _require_gpus(name, launcher_config, config)
    worktrees.check(here, "--on")
    with exclusive_lock(state / parallel.LOCK, parallel.BUSY):
        variables = {"MLFLOW_TRACKING_URI": NOWHERE} if _records_in_a_file(config) else {}
        cluster = Cluster(here, state, Slurm(launcher_config, records()), variables)
        jobs = cluster.launcher.attach()
        if attach and not jobs:
            print("No job of an earlier command is recorded, so there is nothing to follow.", flush=True)
            return False
        remote = remote or Remote()
        plan, outdated = survey(here, remote)
        if not attach and not outdated.isdisjoint(plan.before):
            dvc_repro(plan.before)
            plan, outdated = survey(here, remote)
        failed = _run(cluster, plan, outdated, jobs, attach=attach)
        plan, outdated = survey(here, remote)
        stale = _stale(plan, outdated)
        followed = {job.task.name for job in jobs} - {cell.name for cell in failed}
        again = [cell for cell in stale if cell.name in followed]
        if (
            again and not attach and outdated.isdisjoint(plan.before)
        ):  # what it depends on has changed since its job was submitted
            failed |= _run(cluster, plan, {cell.name for cell in again}, [], attach=False)
            plan, outdated = survey(here, remote)
            stale = _stale(plan, outdated)
        done = [cell for cell in plan.cells if cell not in stale and cluster.tree(cell).exists()]
        for cell in done:
            worktrees.remove(here, cluster.tree(cell))
        if attach and stale and not any(cell in stale for cell in failed):
            print(
                f"All jobs have ended; {counted(len(stale), 'cell')} out of date: run the command without --attach.",
                flush=True,
            )
            return False
        parallel.report(failed, stale, cluster.logs)
        finish(plan.stages_of(outdated))
        return True


def _stale(plan: PipelinePlan, outdated: set[str]) -> list[CellStages]:
    return [cell for cell in plan.cells if cell.name in outdated]


def _run(
    cluster: Cluster, plan: PipelinePlan, outdated: set[str], jobs: Sequence[Job], *, attach: bool
) -> dict[CellStages, str]:
    """Follow `jobs`, and submit the outdated cells that have none; returns how those ended that failed."""
    launcher = cluster.launcher
    cells = {cell.name: cell for cell in plan.cells}
    followed = []
    for job in jobs:
        code = job.poll()
        # What has ended for good is run again by a new command, as an error may have been fixed.
        if not attach and code is not None and not was_killed(code):
            launcher.forget([job])
        elif job.task.name in cells:
            followed.append(job)
        elif not attach:
            print(f"{job.task.name}: no longer in the study, so its job is cancelled", flush=True)
            launcher.cancel([job])
            launcher.forget([job])
    names = {job.task.name for job in followed}
    fresh = [] if attach else [cells[name] for name in cells if name in outdated and name not in names]
    if followed:
        print(f"following {counted(len(followed), 'job')} of an earlier command", flush=True)
    with interrupted_by(signal.SIGTERM, signal.SIGHUP):
        try:
            if fresh:
                followed += cluster.submit(fresh)
                print(
                    f"{len(fresh)} of {counted(len(cells), 'cell')} to run, submitted as an array of jobs",
                    flush=True,
                )
            return follow(launcher, cells, followed, cluster.state)
        except Hangup:
            raise
        except KeyboardInterrupt:
            print(
                f"cancelling {counted(len(followed), 'job')}; trainings save how far they have come",
                flush=True,
            )
            launcher.cancel(followed)
            launcher.forget(followed)
            raise


def _require_gpus(name: str, launcher: LauncherConfig, config: Config) -> None:
    wanted = config.trainer.processes if config.trainer.accelerator == "gpu" else 0
    elsewhere = any(key.replace("_", "-").startswith(("gres", "gpus")) for key in launcher.extra)
    if launcher.gpus < wanted and not elsewhere:
        raise UserError(
            f"conf/launcher/{name}.yaml: gpus: {launcher.gpus}, but the study's trainer, {config.choices['trainer']}, "
            f"needs {wanted}.\nSet `gpus: {wanted}`, or choose another trainer in conf/study.yaml."
        )


def _records_in_a_file(config: Config) -> bool:
    """Whether runs are recorded in an SQLite file, and if so print a note, since jobs do not write to it.

    Raises UserError if conf/tracking/ names that file, so that jobs would.
    """
    from mergershift.tracking import tracking_address

    if sqlite_path(tracking_address(config.tracking.uri)) is None:
        return False
    if config.tracking.uri not in (
        None,
        os.environ.get("MLFLOW_TRACKING_URI"),
    ):  # jobs would not obey the variable
        raise UserError(
            f"conf/tracking/: uri: {config.tracking.uri} is an SQLite file, which several machines must not write to.\n"
            "Set `uri: null`, for mlflow.db in the project's folder, or the address of a server (`mergershift server`)."
        )
    print(
        "Runs are recorded in an SQLite file, which several machines must not write to: they appear there when their "
        "jobs have ended. With a server (`mergershift server`) they can be watched.",
        flush=True,
    )
    return True
