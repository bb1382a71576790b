"""A study whose cells are jobs of a real SLURM cluster, some of which are ended in mid-training."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from slurm import Slurm, slurm_cluster
from studies import checkpoint, environment, leave_page_out, repro, runs, steps, write_study

from mergershift.tracking.presentation import TRAINING_TAG

pytestmark = pytest.mark.team

METHODS = ("source_only", "adabn", "coral", "dann", "entropy", "mmd")
EPOCHS = 10
"""As many as take so long that a training can be interrupted."""
_PATIENCE = 400
LAUNCHER = "hours: 1\nmemory: 2G\ncpus: 1\nparallel: 3\nrequeues: 3\n"


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    with slurm_cluster(cpus=6, kill_wait=20) as cluster:
        yield cluster


@pytest.fixture
def study(archive: Path) -> Path:
    write_study(archive, *METHODS)
    leave_page_out(archive)
    (archive / "conf/training/demo.yaml").write_text(
        f"defaults: [default, _self_]\nepochs: {EPOCHS}\npatience: {EPOCHS}\ncandidates: 2\n"
    )
    (archive / "conf/launcher/here.yaml").write_text(LAUNCHER)
    return archive


class Follower:
    """`mergershift repro --on here` in the background."""

    def __init__(self, project: Path, cluster: Slurm, *options: str) -> None:
        self._log = project / "follower.log"
        with self._log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mergershift", "repro", "--on", "here", *options],
                cwd=project,
                stdout=file,
                stderr=file,
                env=environment(project) | {"SLURM_CONF": str(cluster.conf)},
                start_new_session=True,
            )

    def said(self) -> str:
        return self._log.read_text()

    def wait(self) -> int:
        try:
            return self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.said()) from error


def job_of(cluster: Slurm, project: Path, method: str) -> str:
    """Number of the job that trains a method."""
    for number, state in cluster.states().items():
        if state == "RUNNING" and any(method in str(process.cwd()) for process in processes(cluster, number)):
            return number
    raise AssertionError(f"{method}: {cluster.states()}")


def processes(cluster: Slurm, number: str) -> list[psutil.Process]:
    found = []
    array, _, index = number.partition("_")
    for process in psutil.process_iter():
        try:
            variables = process.environ()
        except psutil.Error:
            continue
        same = (variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")) == (array, index)
        if variables.get("SLURM_CONF") == str(cluster.conf) and (
            same or (not index and variables.get("SLURM_JOB_ID") == array)
        ):
            found.append(process)
    return found


def identity_of(project: Path, method: str) -> str:
    """Id of the training of a method that is under way."""
    path = checkpoint(project, method).parents[1] / "identity.json"
    return str(json.loads(path.read_text())["training"])


def test_a_study_survives_what_happens_on_a_cluster(study: Path, cluster: Slurm) -> None:
    follower = Follower(study, cluster)
    trainings: dict[str, str] = {}

    def interrupt() -> bool:
        """Interrupt trainings as soon as they have a checkpoint; returns whether all of them have been."""
        for method in METHODS[:3]:
            if method not in trainings and checkpoint(study, method).exists():
                trainings[method] = identity_of(study, method)
                number = job_of(cluster, study, method)
                if method == METHODS[0]:
                    cluster.run("scancel", number)
                elif method == METHODS[1]:
                    for process in processes(cluster, number):
                        process.kill()
                else:
                    cluster.run("scontrol", "requeue", number)
        return len(trainings) == 3

    cluster.wait(interrupt, _PATIENCE)
    # The shell goes away: the jobs run on, and a new command follows them.
    follower.process.send_signal(signal.SIGHUP)
    assert follower.wait() == 128 + signal.SIGHUP, follower.said()
    assert cluster.states()
    refused = repro(study, "--jobs", "2")
    assert refused.returncode == 1
    assert "may still run" in refused.stderr
    follower = Follower(study, cluster, "--attach")
    cluster.wait(lambda: follower.said().count("it is submitted again") == 2, _PATIENCE)

    # Ctrl-C cancels them, and they save how far they have come.
    follower.process.send_signal(signal.SIGINT)
    assert follower.wait() == 128 + signal.SIGINT, follower.said()
    assert not cluster.states()
    follower = Follower(study, cluster, "--attach")
    assert follower.wait() == 0
    assert "nothing to follow" in follower.said()

    follower = Follower(study, cluster)
    assert follower.wait() == 0, follower.said()
    assert "Balanced accuracy" in follower.said(), "the transfer table"
    found = {run.data.params["method"]: run for run in runs(study)}
    assert sorted(found) == sorted(METHODS)
    assert len(runs(study)) == len(METHODS), "one run a cell"
    for method, run in found.items():
        assert run.info.status == "FINISHED"
        assert run.data.tags[TRAINING_TAG] == trainings.get(method, run.data.tags[TRAINING_TAG])
        assert steps(study, run) == list(range(EPOCHS)), "every epoch once"
    assert not any((study / "state/cluster").rglob("dvc.yaml")), "no worktree is left"
