"""What runs inside a job: the command, its output, and what a scheduler's signals leave behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from launching.samples import Programs, path_with

from mergershift.launching.jobs import Task
from mergershift.launching.runner import Runner

# Like a training: it takes a moment to save how far it has come.
TRAINING = """
import os, sys, time
from mergershift.core.processes import STOP_SIGNALS, interrupted_by
try:
    with interrupted_by(*STOP_SIGNALS):
        try:
            print("trains with", os.environ["MINE"], flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.5)
            print("saved", flush=True)
            sys.exit(143)
finally:
    pass
"""
# As submitit does it: the result is kept unless the process is told to exit.
JOB = """
import pickle, signal, sys
runner = pickle.load(open(sys.argv[1], "rb"))
def requeue(number, frame):
    runner.checkpoint()
    sys.exit(0)
signal.signal(signal.SIGUSR2, requeue)
code = runner()
open(sys.argv[1] + ".result", "w").write(str(code))
"""


def runner(folder: Path, *command: str) -> Runner:
    return Runner(Task("a", command, folder, {"MINE": "its own"}, folder / "logs" / "a.log"))


def start(folder: Path, *command: str, restarts: int = 0) -> subprocess.Popen[bytes]:
    (folder / "job").write_bytes(pickle.dumps(runner(folder, *command)))
    variables = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": str(restarts)}
    return subprocess.Popen([sys.executable, "-c", JOB, folder / "job"], env=os.environ | variables)


def log(folder: Path) -> str:
    path = folder / "logs" / "a.log"
    return path.read_text() if path.exists() else ""


def wait_for(folder: Path, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in log(folder):
        assert time.monotonic() < deadline, log(folder)
        time.sleep(0.02)


def test_the_exit_code_of_the_command_is_the_result(tmp_path):
    assert start(tmp_path, "sh", "-c", 'echo "$MINE in $(pwd)"; exit 3').wait(30) == 0
    assert (tmp_path / "job.result").read_text() == "3"
    assert log(tmp_path) == f"its own in {tmp_path}\n"
    start(tmp_path, "sh", "-c", "echo again; kill -9 $$", restarts=1).wait(30)
    assert (tmp_path / "job.result").read_text() == "-9"
    assert log(tmp_path).endswith("\nagain\n"), "a job that was queued again continues its log"
    start(tmp_path, "true").wait(30)
    assert log(tmp_path) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
@pytest.mark.parametrize("whole", [True, False])
def test_a_stopped_job_waits_for_its_command_and_leaves_no_result(tmp_path, number, whole):
    """SLURM signals all processes of a job, one after the other; somebody else may signal only this one."""
    code = TRAINING
    job = start(tmp_path, "sh", "-c", f"{sys.executable} -c '{code}'; exit $?")
    wait_for(tmp_path, "trains with its own")
    for process in reversed(psutil.Process(job.pid).children(recursive=True) if whole else []):
        process.send_signal(number)
    job.send_signal(number)
    job.wait(30)
    assert "saved" in log(tmp_path)
    assert not (tmp_path / "job.result").exists()
    assert (job.returncode == 128 + number) == (number == signal.SIGTERM)


@pytest.mark.parametrize(("state", "again"), [("RUNNING\n", ["requeue 7"]), ("COMPLETING\n", []), ("", [])])
def test_a_job_that_is_about_to_be_preempted_is_queued_again(tmp_path, monkeypatch, state, again):
    """Only one that SLURM has not ended yet: a cancelled one must not come back."""
    programs = Programs(tmp_path / "slurm")
    monkeypatch.setenv("PATH", path_with(programs.folder))
    programs.says("squeue", state)
    job = start(tmp_path, sys.executable, "-c", TRAINING)
    wait_for(tmp_path, "trains with its own")
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    assert "saved" in log(tmp_path)
    assert programs.calls("scontrol") == again
