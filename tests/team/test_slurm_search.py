"""A search whose workers are jobs of a real SLURM cluster, with its study in PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState
from postgresql import postgresql_server
from slurm import Slurm, slurm_cluster
from studies import client, environment, runs

from mergershift.config import compose
from mergershift.core.processes import variable_of
from mergershift.images import prepare
from mergershift.tuning.endings import is_finished, original_number
from mergershift.tuning.storage import open_study
from mergershift.tuning.tune import read_search

pytestmark = pytest.mark.team
T = TypeVar("T")

TRIALS, EPOCHS = 12, 4
_PATIENCE = 240
"""Seconds that anything may take on a busy machine."""
LAUNCHER = """\
hours: 1
memory: 1G
cpus: 1
parallel: 4
requeues: 3
"""


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    with slurm_cluster() as cluster:
        yield cluster


@pytest.fixture
def search(archive: Path, sample: Path, tmp_path: Path, cluster: Slurm) -> Iterator[list[str]]:
    """Overrides of a search, with a password that no command line and no readable file may show."""
    (archive / "outputs").mkdir()
    split = compose(["filters=two"]).split
    prepare(sample, "two", split, archive / "outputs/prepared/two-by_galaxy")
    (archive / "conf/launcher/here.yaml").write_text(LAUNCHER)
    with postgresql_server(tmp_path / "postgresql") as server:
        address = server.create("studies").replace("tuner@", "tuner:verysecret@")
        yield [
            *("filters=two", "adaptation=mmd", f"training.epochs={EPOCHS}", "training.batch_size=32"),
            *(f"tuning.trials={TRIALS}", "tuning.pruning=false", "tuning.heartbeat=2"),
            f"tuning.storage={address}",
        ]


class Follower:
    """`mergershift tune --workers 2 --on here` in the background."""

    def __init__(self, project: Path, cluster: Slurm, overrides: list[str], *options: str) -> None:
        command = [sys.executable, "-m", "mergershift", "tune", "--workers", "2", "--on", "here", *options]
        self._log, self._cluster = project / "follower.log", cluster
        with self._log.open("w") as file:
            self._process = subprocess.Popen(
                [*command, *overrides],
                cwd=project,
                stdout=file,
                stderr=file,
                env=environment(project) | {"SLURM_CONF": str(cluster.conf)},
            )

    def until(self, condition: Callable[[], T]) -> T:
        """Wait until the condition holds, and return what it gave; the command must not have ended before."""
        found: list[T] = []

        def holds() -> bool:
            found[:] = [condition()]
            assert found[0] or self._process.poll() is None, self._log.read_text()
            return bool(found[0])

        self._cluster.wait(holds, _PATIENCE)
        return found[0]

    def end(self, number: signal.Signals | None = None) -> str:
        """Send a signal, wait for the command's end, and return all it has said."""
        if number is not None:
            self._process.send_signal(number)
        code = self._process.wait(_PATIENCE)
        said = self._log.read_text()
        assert code == (128 + number if number else 0), said
        return said


def at_work(study: optuna.Study) -> list[psutil.Process]:
    """Workers whose trials have an epoch behind them, in the order of the trials."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    pids = [
        int(trial.user_attrs["worker"].rpartition(":")[2])
        for trial in trials
        if trial.intermediate_values and "worker" in trial.user_attrs
    ]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def both_at_work(study: optuna.Study) -> list[psutil.Process]:
    """Those workers once they are two, and none before."""
    workers = at_work(study)
    return workers if len(workers) == 2 else []


def job_of(worker: psutil.Process) -> str:
    """Number of the job that a worker runs in, as 3_0."""
    parts = [variable_of(worker, f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK")]
    if None in parts:
        return str(variable_of(worker, "SLURM_JOB_ID"))
    return "_".join(map(str, parts))


def seen_by_others(cluster: Slurm, project: Path) -> str:
    """What other users of the cluster and its nodes can read of the jobs."""
    shown = [cluster.run("scontrol", "--details", "show", "job"), cluster.run("squeue", "--Format=All")]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if "--on" not in process.cmdline():  # what the user has typed
                shown += process.cmdline()
    for path in (project / "state").rglob("*"):
        open_to_all = all(
            folder.stat().st_mode & 0o005 for folder in path.parents if folder.is_relative_to(project)
        )
        if path.is_file() and open_to_all and path.stat().st_mode & 0o004:
            shown.append(path.read_text(errors="replace"))
    return "\n".join(shown)


def test_a_search_survives_all_that_can_befall_its_workers(
    archive: Path, search: list[str], cluster: Slurm
) -> None:
    study = open_study(read_search(search)[0])
    follower = Follower(archive, cluster, search)
    follower.until(lambda: both_at_work(study))
    seen = seen_by_others(cluster, archive)
    assert "JobId=" in seen
    assert "--as-worker" in seen
    assert "verysecret" not in seen

    follower.end(signal.SIGINT)
    assert not cluster.states()
    states = Counter(trial.state for trial in study.get_trials())
    assert states[TrialState.WAITING] >= 1
    assert states[TrialState.RUNNING] == 0

    follower = Follower(archive, cluster, search)
    follower.until(lambda: both_at_work(study))
    follower.end(signal.SIGHUP)
    jobs = set(cluster.states())
    assert len(jobs) == 2

    follower = Follower(archive, cluster, search, "--attach")
    cancelled, killed = follower.until(lambda: both_at_work(study))
    cluster.run("scancel", job_of(cancelled))
    killed.kill()
    (requeued, *_) = follower.until(
        lambda: [worker for worker in at_work(study) if worker not in (cancelled, killed)]
    )
    requeued_job = job_of(requeued)
    cluster.run("scontrol", "requeue", requeued_job)
    follower.until(lambda: cluster.states().get(requeued_job) == "RUNNING")
    said = follower.end()
    assert "here: 2 workers of an earlier command followed" in said
    assert "killed (signal 9); starting it again" in said
    assert said.count("starting it again") == 2
    assert f"{TRIALS} trials completed" in said
    assert not cluster.states()

    trials = study.get_trials()
    finished = [trial for trial in trials if is_finished(trial)]
    assert len(finished) == len({original_number(trial) for trial in finished}) == TRIALS
    assert {trial.state for trial in finished} == {TrialState.COMPLETE}
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    check_runs(archive, finished)


def check_runs(project: Path, finished: list[FrozenTrial]) -> None:
    """One run a trial, each with every epoch once, all of one search."""
    (parent,) = (run for run in runs(project) if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs(project) if run.info.run_id != parent.info.run_id]
    numbers = [int(run.data.tags["mergershift.training"].rpartition("-")[2]) for run in children]
    assert sorted(numbers) == sorted(map(original_number, finished))
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    for run in children:
        history = client(project).get_metric_history(run.info.run_id, "validation/source_loss")
        assert sorted(point.step for point in history) == list(range(EPOCHS))
