"""`mergershift repro --on`: cells that run as jobs, here of a cluster that is this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from studies import ENVIRONMENT

from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.processes import Hangup
from mergershift.launching import slurm
from mergershift.launching.jobs import LOST, Job, Task
from mergershift.pipeline import cluster, follow
from mergershift.pipeline import repro as command
from mergershift.pipeline.repro import repro

pytestmark = pytest.mark.system

CONFIG = SimpleNamespace(
    trainer=SimpleNamespace(accelerator="cpu", processes=1),
    tracking=SimpleNamespace(uri=None),
    choices={"trainer": "cpu"},
)


@dataclass(eq=False)
class LocalJob:
    task: Task
    process: subprocess.Popen[bytes]
    lost: bool = False

    def poll(self) -> int | None:
        return LOST if self.lost else self.process.poll()

    @property
    def state(self) -> str:
        return "cancelled" if self.lost else "running on node7" if self.poll() is None else "ended"


@dataclass
class LocalCluster:
    """Runs jobs as processes of this machine, and keeps them while commands come and go."""

    jobs: list[LocalJob] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def submit(self, tasks: Sequence[Task]) -> list[Job]:
        new = []
        for task in tasks:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            with task.log.open("wb") as log:
                variables = ENVIRONMENT | {"RUNS": os.environ["RUNS"]} | dict(task.environment)
                process = subprocess.Popen(
                    task.command, cwd=task.folder, env=variables, stdout=log, stderr=log
                )
            new.append(LocalJob(task, process))
            self.submitted.append(task.name)
        self.jobs += new
        return list(new)

    def attach(self) -> list[Job]:
        return list(self.jobs)

    def cancel(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            assert isinstance(job, LocalJob)
            self.cancelled.append(job.task.name)
            job.process.kill()
            job.process.wait()

    def forget(self, jobs: Sequence[Job]) -> None:
        self.jobs = [job for job in self.jobs if job not in jobs]


@pytest.fixture
def local(shell: Path, monkeypatch: pytest.MonkeyPatch) -> LocalCluster:
    local = LocalCluster()
    monkeypatch.setattr(slurm, "Slurm", lambda *_: local)
    monkeypatch.setattr(follow, "_POLL_SECONDS", 0.1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (shell / "conf/launcher").mkdir()
    (shell / "conf/launcher/here.yaml").write_text(
        "hours: 1\nmemory: 1G\ncpus: 1\nparallel: 2\nrequeues: 0\n"
    )
    return local


def run(*, attach: bool = False) -> bool:
    return cluster.repro("here", CONFIG, attach=attach)  # type: ignore[arg-type]


def test_outdated_cells_run_as_jobs_in_worktrees_of_their_own(shell, runs_of, local, capfd):
    (shell / "conf/b.txt").write_text("broken\n")
    with pytest.raises(UserError, match="cells/b failed"):
        run()
    out, err = capfd.readouterr()
    assert local.submitted == ["cells/a", "cells/b", "cells/c"]
    assert "3 of 3 cells to run, submitted as an array of jobs" in out
    assert "b is broken" in err
    assert (runs_of.folder / "a").read_text() == f"{shell}/state/cluster/trees/cells/a\n"
    assert not (shell / "state/cluster/trees/cells/a").exists(), "what is done needs none any more"
    assert [runs_of(cell) for cell in "abc"] == [1, 1, 1], "a failure is not repeated"
    assert not local.jobs
    assert not run(attach=True)
    assert "nothing to follow" in capfd.readouterr().out
    (shell / "conf/b.txt").write_text("fixed\n")
    assert run()
    assert local.submitted[3:] == ["cells/b"]
    assert "fixed" in (shell / "outputs/summary.txt").read_text()
    assert run()
    assert len(local.submitted) == 4


def test_jobs_outlive_the_command_and_are_not_submitted_twice(shell, runs_of, local, monkeypatch, capfd):
    (runs_of.folder / "wait for").write_text("go")
    polls = []

    def hang_up(*_: object) -> None:
        polls.append(1)
        if len(polls) == 2:
            raise Hangup

    with monkeypatch.context() as patch:
        patch.setattr(follow.time, "sleep", hang_up)
        with pytest.raises(Hangup):
            run()
    assert len(local.jobs) == 3
    assert not local.cancelled
    with (
        exclusive_lock(shell / "state/jobs.lock", "held"),
        pytest.raises(UserError, match=r"state/jobs[.]lock"),
    ):
        run(attach=True)
    (shell / "conf/c.txt").write_text("c as edited\n")  # its job runs with the file as it was
    local.jobs[0].lost = True
    local.cancel(local.jobs[:1])
    # It was killed on another machine, and leaves a lock with the number of a process that exists on this one, too.
    tree = shell / "state/cluster/trees/cells/a"
    held = {str(tree / "conf/a.txt"): {"write": {"pid": os.getpid(), "cmd": "dvc"}}}
    (tree / ".dvc/tmp/rwlock").write_text(json.dumps(held))
    (runs_of.folder / "go").touch()
    assert run()
    out = capfd.readouterr().out
    assert "following 3 jobs of an earlier command" in out
    assert "a: cancelled; it is submitted again" in out
    assert local.submitted[3:] == ["cells/a", "cells/c"]
    assert "c as edited" in (shell / "outputs/summary.txt").read_text()


def test_ctrl_c_cancels_the_jobs(shell, runs_of, local, monkeypatch, capfd):
    (runs_of.folder / "sleep").touch()
    monkeypatch.setattr(follow.time, "sleep", lambda _seconds: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        run()
    assert local.cancelled == ["cells/a", "cells/b", "cells/c"]
    assert not local.jobs
    assert "cancelling 3 jobs" in capfd.readouterr().out


def test_what_does_not_go_together_is_refused(project, monkeypatch):
    for arguments, words in (
        (((), 2, "here", False), "--jobs 2 runs cells on this machine, --on here on a cluster"),
        ((("--force",), 1, "here", False), "--on here runs the whole pipeline and takes no other arguments"),
        (((), 1, "", True), "--attach follows jobs on a cluster"),
    ):
        dvc, jobs, on, attach = arguments
        with pytest.raises(UserError, match=words) as error:
            repro(dvc, jobs, on=on, attach=attach)
        assert str(error.value).count("\n") == 1
    gpu = SimpleNamespace(trainer=SimpleNamespace(accelerator="gpu", processes=2), choices={"trainer": "gpu"})
    with pytest.raises(UserError, match="gpus: 0, but the study's trainer, gpu, needs 2"):
        cluster.repro("slurm", gpu)  # type: ignore[arg-type]
    (cluster.records() / "mergershift-1").mkdir(parents=True)
    (cluster.records() / "mergershift-1/tasks.json").write_text("[]")
    monkeypatch.setattr(command, "_require_filter_sets", lambda _study: None)
    for jobs in (1, 2):
        with pytest.raises(UserError, match="jobs of an earlier `mergershift repro --on NAME` may still run"):
            repro(jobs=jobs)


def test_jobs_do_not_write_to_a_database_that_is_a_file(project, tmp_path, monkeypatch, capfd):
    """They keep what they would send there, and it is published when they have ended."""

    def tracking(uri: str | None) -> SimpleNamespace:
        return SimpleNamespace(tracking=SimpleNamespace(uri=uri))

    def recorded(uri: str | None) -> bool:
        return cluster._records_in_a_file(tracking(uri))  # type: ignore[arg-type]

    address = f"sqlite:///{tmp_path}/runs.db"
    assert recorded(None)
    assert "they appear there when their jobs have ended" in capfd.readouterr().out
    with pytest.raises(UserError, match="is an SQLite file, which several machines must not write to"):
        recorded(address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert recorded(address), "a configuration that reads the variable"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert not recorded(None)
    assert capfd.readouterr().out.count("\n") == 1
