"""Start the workers of a study, on this machine or on a cluster, and report their progress."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from mergershift.core.checkout import root, workspace
from mergershift.core.errors import UserError
from mergershift.core.gpus import spread
from mergershift.core.processes import Hangup, interrupted_by
from mergershift.core.words import counted
from mergershift.launching.jobs import Ended, Job, Launcher, Task, collect
from mergershift.launching.local import LocalProcesses
from mergershift.tuning.endings import FAILURES_IN_A_ROW, REASON, failed_in_a_row, finished, is_over
from mergershift.tuning.reporting import Reporter
from mergershift.tuning.storage import Search

SEARCH = "MERGERSHIFT_SEARCH"
"""Environment variable with a worker's overrides as JSON. Other users can read command lines, and the address of the
study's database may contain a password."""
_POLL_SECONDS = 0.5
_END_SECONDS = 10.0
"""How long workers may take to notice that the search is over; those that are still waiting to begin never do."""


@dataclass(frozen=True)
class Cluster:
    """Where the workers of a search run, if not on this machine."""

    name: str
    launcher: Launcher
    attach: bool = False
    """Whether only the workers of an earlier command are followed."""


class WorkerFailed(UserError):
    """A worker failed in a way that another attempt would repeat."""


def run_workers(
    search: Search, study: optuna.Study, overrides: list[str], count: int, cluster: Cluster | None = None
) -> bool:
    """Run `count` workers to their end, replace those that are lost, and report every finished trial.

    On a cluster, the workers of an earlier command are followed, and only those that are missing are submitted.
    An interruption cancels all workers, which put their trials back into the queue.

    Returns whether the workers have ended; they go on without this command on a cluster if its terminal is closed.

    Raises WorkerFailed with the error message of a worker that fails, and UserError if several trials in a row fail
    and if there is no worker to attach to.
    """
    before = study.get_trials(deepcopy=False)
    first, wanted = len(before), search.tuning.trials

    def over() -> bool:
        return is_over(study.get_trials(deepcopy=False), wanted, first)

    launcher = cluster.launcher if cluster else LocalProcesses()
    jobs = _earlier(cluster) if cluster else []
    followed = bool(jobs)
    if over():
        launcher.cancel(jobs)
        launcher.forget(jobs)
        return True
    tasks = _tasks(search, overrides, min(count, wanted - len(finished(before))), first, cluster)
    while tasks or jobs:
        new = [task for task in tasks if task.name not in {job.task.name for job in jobs}]
        if cluster:
            _announce(cluster, len(new), len(jobs))
        if not _watch(Reporter(search, study), launcher, jobs, new, over, leaving=cluster is not None):
            return False
        if over() or not (followed and tasks):
            break
        # The workers of an earlier command were to run fewer trials than this one.
        jobs, followed = [], False
    trials = study.get_trials(deepcopy=False)
    last = failed_in_a_row(trials, first)
    missing = wanted - len(finished(trials))
    if last is not None and missing > 0:
        raise UserError(
            f"{search.name}: {FAILURES_IN_A_ROW} trials in a row failed, the last with {last.user_attrs[REASON]}.\n"
            f"Narrow the ranges (tuning.space.KEY.high=...) or free memory; {_logs()} has the full errors. The same "
            "command continues the search."
        )
    if missing > 0 and cluster and cluster.attach:
        raise UserError(
            f"{search.name}: no worker waits or runs on {cluster.name}, and {counted(missing, 'trial')} "
            f"{'is' if missing == 1 else 'are'} missing.\nRun the command without --attach to submit workers."
        )
    return True


def _logs() -> Path:
    return workspace() / "state" / "logs" / "tuning"


def _tasks(
    search: Search, overrides: list[str], count: int, first: int, cluster: Cluster | None
) -> list[Task]:
    """Return the tasks of new workers; none if workers are only to be followed."""
    if cluster and cluster.attach:
        return []
    command = (sys.executable, "-m", "mergershift", "tune", "--as-worker", "--first-trial", str(first))
    environment = {SEARCH: json.dumps(overrides)}
    tasks = [
        Task(f"worker {number}", command, root(), environment, _logs() / f"{search.name}-{number}.log")
        for number in range(count)
    ]
    if cluster:  # which gives each of its jobs GPUs of its own
        return tasks
    trainer = search.config.trainer
    gpus = spread(trainer.accelerator, count, each=trainer.processes)
    if gpus.note:
        print(gpus.note, file=sys.stderr, flush=True)
    return [
        replace(task, environment=environment | variables)
        for task, variables in zip(tasks, gpus.variables, strict=True)
    ]


def _earlier(cluster: Cluster) -> list[Job]:
    """Return the workers of earlier commands that wait or run; and when attaching, those that ended meanwhile."""
    jobs = cluster.launcher.attach()
    ended = [job for job in jobs if (code := job.poll()) is not None and not (cluster.attach and code)]
    cluster.launcher.forget(ended)
    return [job for job in jobs if job not in ended]


def _announce(cluster: Cluster, submitted: int, followed: int) -> None:
    parts = [f"{counted(followed, 'worker')} of an earlier command followed"] * bool(followed)
    parts += [f"{counted(submitted, 'worker')} submitted"] * bool(submitted)
    print(f"{cluster.name}: {', '.join(parts)}", file=sys.stderr, flush=True)


def _watch(
    reporter: Reporter,
    launcher: Launcher,
    jobs: list[Job],
    new: Sequence[Task],
    over: Callable[[], bool],
    *,
    leaving: bool,
) -> bool:
    """Follow jobs until all have ended, and cancel those that have not when the search is over or interrupted.

    Args:
        reporter: what is reported.
        launcher: where the jobs run.
        jobs: the jobs, updated as they end and are replaced.
        new: tasks to submit in addition.
        over: whether the search needs no more workers.
        leaving: whether the jobs survive this command, and go on if it ends for another reason than theirs.

    Returns False if the jobs go on because the terminal has been closed.
    """
    goes_on = leaving
    try:
        with interrupted_by(signal.SIGTERM), reporter:
            jobs += launcher.submit(new)
            _follow(reporter, launcher, jobs, over, states=leaving)
        goes_on = False
    except Hangup:
        if not leaving:
            raise
        return False
    except (KeyboardInterrupt, WorkerFailed):
        goes_on = False
        raise
    finally:
        if not goes_on:
            launcher.cancel(jobs)
            launcher.forget(jobs)
    return True


def _follow(
    reporter: Reporter, launcher: Launcher, jobs: list[Job], over: Callable[[], bool], *, states: bool
) -> None:
    deadline = math.inf
    known: dict[str, str] = {}
    while jobs and time.monotonic() < deadline:
        reporter.update()
        for ended in collect(launcher, jobs):
            jobs.remove(ended.job)
            if ended.again is not None:
                reporter.print(f"{ended.job.task.name}: {_why(ended)}; starting it again")
                jobs.append(ended.again)
            elif ended.code:
                raise WorkerFailed(_failure(ended.job, ended.code))
        for job in jobs if states else ():
            doing = job.state.partition(" (")[0]  # the reason for which a job waits changes often
            if known.get(job.task.name) != doing:
                known[job.task.name] = doing
                reporter.print(f"{job.task.name}: {job.state}")
        if deadline == math.inf and over():
            deadline = time.monotonic() + _END_SECONDS
        if jobs:
            time.sleep(_POLL_SECONDS)
    reporter.update()


def _why(ended: Ended) -> str:
    """Why a worker has to be started again."""
    # A command that a signal has stopped in good order exits with 128 more than its number.
    number = max(-ended.code, ended.code - 128)
    return f"killed (signal {number})" if 0 < number < signal.NSIG else ended.job.state


def _failure(job: Job, code: int) -> str:
    """Message about a failed worker: the last UserError in its log, or else the path of the log."""
    log = job.task.log
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if line.startswith("Error: ")]
    message = "\n".join(lines[errors[-1] :][:2]).removeprefix("Error: ") if errors else f"see {log}"
    how = f"with exit code {code}" if job.state.startswith("ended") else f"({job.state})"
    return f"{job.task.name} failed {how}: {message}"
