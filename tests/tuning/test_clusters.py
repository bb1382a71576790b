"""Searches whose workers are jobs of a cluster: which are submitted, followed, replaced, cancelled and left alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import optuna
import pytest
from cells.samples import write_checkout
from optuna.distributions import BaseDistribution, FloatDistribution
from sqlalchemy.exc import OperationalError
from tuning.samples import LIMIT, search_of

from mergershift.core.errors import UserError
from mergershift.core.processes import Hangup
from mergershift.launching.jobs import LOST, RETRIES, Job, Task
from mergershift.tuning import launcher
from mergershift.tuning.clusters import followed, launcher_for
from mergershift.tuning.launcher import Cluster, WorkerFailed, run_workers
from mergershift.tuning.storage import open_study

SECRET = "postgresql+psycopg://u:secret@h/db"


class FakeJob:
    def __init__(self, task: Task, code: int | None = None) -> None:
        self.task, self.code, self.state = task, code, "running on node7"

    def poll(self) -> int | None:
        return self.code


class FakeCluster:
    """A cluster whose jobs end when a test says so."""

    def __init__(self, *earlier: FakeJob) -> None:
        self.jobs: list[FakeJob] = list(earlier)
        self.submitted: list[Task] = []
        self.cancelled: list[str] = []

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        new = [FakeJob(task) for task in tasks]
        self.jobs += new
        self.submitted += tasks
        return list(new)

    def attach(self) -> list[Job]:
        return list(self.jobs)

    def cancel(self, jobs: Sequence[Job]) -> None:
        self.cancelled += [job.task.name for job in jobs]

    def forget(self, jobs: Sequence[Job]) -> None:
        self.jobs = [job for job in self.jobs if job not in jobs]

    def end(self, name: str, code: int) -> None:
        """End the job of this name."""
        (job,) = (job for job in self.jobs if job.task.name == name)
        job.code, job.state = code, "cancelled"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens while the command sleeps, one thing each time; time passes without waiting."""
    steps: list[Callable[[], object]] = []
    clock = [time.monotonic()]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if steps:
            steps.pop(0)()

    monkeypatch.setattr(launcher.time, "sleep", sleep)
    monkeypatch.setattr(launcher.time, "monotonic", lambda: clock[0])
    yield steps
    assert not steps


def earlier(number: int, code: int | None = None) -> FakeJob:
    """A worker that an earlier command has submitted."""
    return FakeJob(Task(f"worker {number}", ("tune",), Path(), {}, Path(f"worker-{number}.log")), code)


def finish(study: optuna.Study, count: int) -> None:
    """Let a number of trials be completed."""
    for _ in range(count):
        distributions: dict[str, BaseDistribution] = {LIMIT: FloatDistribution(1, 200)}
        study.add_trial(optuna.create_trial(params={LIMIT: 16.0}, distributions=distributions, value=0.5))


def fail(error: BaseException) -> None:
    raise error


def names(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]


def test_a_lost_worker_is_replaced_until_it_has_been_lost_too_often(
    script: list[Callable[[], object]], capfd: pytest.CaptureFixture[str]
) -> None:
    search, cluster = search_of(), FakeCluster()
    script += [lambda: cluster.end("worker 1", LOST)] * (RETRIES + 1)
    with pytest.raises(WorkerFailed, match=r"worker 1 failed \(cancelled\): see .*-1\.log"):
        run_workers(search, open_study(search), [], 2, Cluster("here", cluster))
    assert names(cluster.submitted) == ["worker 0", "worker 1", *["worker 1"] * RETRIES]
    assert [task.attempt for task in cluster.submitted][1:] == list(range(RETRIES + 1))
    assert cluster.cancelled[-1] == "worker 0"
    assert not cluster.jobs
    said = capfd.readouterr().err
    assert said.count("worker 1: cancelled; starting it again") == RETRIES
    assert said.count("worker 0: running on node7") == 1


def test_workers_of_an_earlier_command_are_followed_and_only_missing_ones_submitted(
    script: list[Callable[[], object]], capfd: pytest.CaptureFixture[str]
) -> None:
    search, cluster = search_of(), FakeCluster(earlier(0, code=LOST), earlier(1))
    study = open_study(search)
    script += [
        lambda: finish(study, 3),
        lambda: cluster.end("worker 0", 0),
        lambda: cluster.end("worker 1", 0),
    ]
    assert run_workers(search, study, [SECRET], 3, Cluster("here", cluster))
    assert names(cluster.submitted) == ["worker 0", "worker 2"]
    assert all(SECRET not in " ".join(task.command) for task in cluster.submitted)
    assert "here: 1 worker of an earlier command followed, 2 workers submitted" in capfd.readouterr().err
    assert cluster.cancelled == ["worker 2"]


def test_attached_workers_are_replaced_but_none_is_added(script: list[Callable[[], object]]) -> None:
    search, cluster = search_of(), FakeCluster(earlier(0), earlier(1, code=-9), earlier(2, code=0))
    study = open_study(search)
    script += [
        lambda: finish(study, 3),
        lambda: cluster.end("worker 0", 0),
        lambda: cluster.end("worker 1", 0),
    ]
    assert run_workers(search, study, [], 4, Cluster("here", cluster, attach=True))
    assert [(task.name, task.attempt) for task in cluster.submitted] == [("worker 1", 1)]


def test_without_workers_there_is_nothing_to_attach_to() -> None:
    search, cluster = search_of(), FakeCluster()
    with pytest.raises(UserError, match=r"no worker waits or runs on here, and 3 trials are missing\.\nRun "):
        run_workers(search, open_study(search), [], 2, Cluster("here", cluster, attach=True))
    assert not cluster.submitted


def test_workers_that_were_to_run_fewer_trials_are_followed_by_new_ones(
    script: list[Callable[[], object]],
) -> None:
    search, cluster = search_of(trials=5), FakeCluster(earlier(0))
    study = open_study(search)
    script += [lambda: finish(study, 3), lambda: cluster.end("worker 0", 0)]
    script += [lambda: finish(study, 2), lambda: cluster.end("worker 0", 0)]
    assert run_workers(search, study, [], 1, Cluster("here", cluster))
    assert names(cluster.submitted) == ["worker 0"]


def test_workers_that_still_wait_are_cancelled_once_the_search_has_its_trials(
    script: list[Callable[[], object]],
) -> None:
    search, cluster = search_of(), FakeCluster()
    study = open_study(search)
    script += [lambda: finish(study, 3), lambda: cluster.end("worker 0", 0)]
    assert run_workers(search, study, [], 2, Cluster("here", cluster))
    assert cluster.cancelled == ["worker 1"]
    left = FakeCluster(earlier(0))
    assert run_workers(search, study, [], 2, Cluster("here", left))
    assert (left.cancelled, left.jobs, left.submitted) == (["worker 0"], [], [])


@pytest.mark.parametrize(
    ("error", "cancelled"),
    [
        (KeyboardInterrupt(), ["worker 0", "worker 1"]),
        (OperationalError("SELECT", {}, Exception("server closed the connection")), []),
        (OSError(5, "the terminal is gone"), []),
    ],
)
def test_workers_are_cancelled_by_an_interruption_and_go_on_after_an_error_of_the_command(
    script: list[Callable[[], object]], error: BaseException, cancelled: list[str]
) -> None:
    search, cluster = search_of(), FakeCluster()
    script += [lambda: fail(error)]
    with pytest.raises(type(error)):
        run_workers(search, open_study(search), [], 2, Cluster("here", cluster))
    assert cluster.cancelled == cancelled
    assert len(cluster.jobs) == 2 - len(cancelled)


def test_workers_go_on_when_the_terminal_is_closed(script: list[Callable[[], object]]) -> None:
    search, cluster = search_of(), FakeCluster()
    script += [lambda: fail(Hangup())]
    assert not run_workers(search, open_study(search), [], 2, Cluster("here", cluster))
    assert (cluster.cancelled, len(cluster.jobs)) == ([], 2)


def test_a_study_in_a_file_is_refused_as_is_a_cluster_that_does_not_exist(checkout: Path) -> None:
    (checkout / "conf/launcher").mkdir(exist_ok=True)
    (checkout / "conf/launcher/here.yaml").write_text(
        "{hours: 1, memory: 1G, cpus: 1, parallel: 2, requeues: 0}"
    )
    with pytest.raises(
        UserError, match=r"optuna\.db: workers on a cluster need a study in PostgreSQL"
    ) as refused:
        launcher_for(search_of(storage=None), "here")
    assert len(str(refused.value).splitlines()) == 2
    with pytest.raises(UserError, match="--on her: conf/launcher/ has no 'her'"):
        launcher_for(search_of(storage=SECRET), "her")
    assert launcher_for(search_of(storage=SECRET), "here").cpus == 1


def test_two_commands_do_not_follow_the_same_workers(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("sbatch", "scancel", "squeue", "srun"):
        (tmp_path / program).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (checkout / "conf/launcher/here.yaml").write_text(
        "{hours: 1, memory: 1G, cpus: 1, parallel: 2, requeues: 0}"
    )
    search = search_of()
    study, config = open_study(search), launcher_for(search_of(storage=SECRET), "here")
    with (
        followed(study, "here", config, attach=False),
        pytest.raises(UserError, match="another command follows the workers of this search"),
        followed(study, "here", config, attach=True),
    ):
        pass
