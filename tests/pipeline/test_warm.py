"""Processes that fork for every command."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from mergershift.core.processes import environment
from mergershift.pipeline import warm
from mergershift.pipeline.warm import WarmProcess

pytestmark = pytest.mark.skipif(not warm.FORKS, reason="forks are safe on Linux alone")


def code_of(process: WarmProcess, seconds: float = 60) -> int:
    deadline = time.monotonic() + seconds
    while (code := process.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return code


@pytest.fixture
def process(tmp_path):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "conf").mkdir()
    made = WarmProcess(tmp_path, environment())
    yield made
    made.close()


def test_answers_each_command_with_its_exit_code(process: WarmProcess, tmp_path: Path) -> None:
    """Outside of a repository, DVC fails with a code of its own, and says so in the command's log."""
    for name in ("first.log", "second.log"):
        process.repro(["train@a"], tmp_path / name)
        assert code_of(process) == 253
        assert "not inside of a DVC repository" in (tmp_path / name).read_text()


def test_runs_dvc_in_another_folder_with_the_output_of_this_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "checkout/conf").mkdir(parents=True)
    (tmp_path / "checkout/dvc.yaml").write_text("stages: {}\n")
    process = WarmProcess(tmp_path, environment())
    assert process.repro_in(tmp_path / "checkout", ["--help"], environment()) == 0
    assert process.repro_in(tmp_path / "checkout", ["train@a"], environment()) == 253
    printed = capfd.readouterr()
    assert printed.out.startswith("usage: dvc repro")
    assert "not inside of a DVC repository" in printed.err
    process._process.send_signal(signal.SIGKILL)
    process._process.wait()
    assert process.repro_in(tmp_path / "checkout", ["train@a"], environment()) == -signal.SIGKILL
    process.close()


def test_one_that_is_killed_is_noticed(process: WarmProcess, tmp_path: Path) -> None:
    process._process.send_signal(signal.SIGKILL)
    process._process.wait()
    process.repro(["train@a"], tmp_path / "log")
    assert code_of(process) == -signal.SIGKILL


def test_ends_when_its_starter_does(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from mergershift.core.processes import environment\nfrom mergershift.pipeline.warm import WarmProcess\n"
        "made = WarmProcess(Path.cwd(), environment())\nmade.repro([], Path('log'))\n"
        "while made.poll() is None: pass\n"
        "print(made._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    starter = psutil.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=-1, env=os.environ)
    number = int(starter.communicate(timeout=60)[0])
    deadline = time.monotonic() + 20
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_a_command_with_the_environment_and_folder_that_it_is_given(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the fork alone: this process keeps its own."""
    before = dict(os.environ), Path.cwd()
    arguments = (["--version"], {"ONLY": "this"}, str(tmp_path), signal.default_int_handler)
    assert warm._forked(warm._mergershift, *arguments) == 0
    assert warm._forked(warm._mergershift, ["no-such-command"], *arguments[1:]) == 1
    assert warm._forked(os.kill, os.getpid(), 0) == 0
    assert (dict(os.environ), Path.cwd()) == before
    printed = capfd.readouterr()
    assert printed.out.startswith("mergershift, version")
    assert "no-such-command" in printed.err
