"""Signals, cores, and what is set in the environment, when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.processes import (
    STOP_SIGNALS,
    Hangup,
    available_cores,
    end_processes,
    environment,
    interrupted_by,
    kill_processes,
    set_environment_defaults,
    variable_of,
)


def test_a_signal_interrupts_like_ctrl_c_and_its_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interrupted_by(signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_end_of_the_terminal_is_an_interruption_of_its_own_kind() -> None:
    for number, kind in ((signal.SIGHUP, Hangup), (signal.SIGTERM, KeyboardInterrupt)):
        with pytest.raises(KeyboardInterrupt) as raised, interrupted_by(number):
            os.kill(os.getpid(), number)
        assert raised.type is kind


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by(signal.SIGHUP):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_defaults_leave_alone_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    set_environment_defaults()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert os.environ.pop("MLFLOW_DISABLE_TELEMETRY") == "true"


def test_a_command_computes_small_matrices_on_one_thread() -> None:
    """Several threads of OpenBLAS would wait for each other by spinning, on cores that other trainings use."""
    code = (
        "from mergershift.core.processes import set_environment_defaults\nset_environment_defaults()\n"
        "import numpy, threadpoolctl\n"
        "print(max(pool['num_threads'] for pool in threadpoolctl.threadpool_info()))"
    )
    clean = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_importing_the_package_sets_nothing_in_the_environment() -> None:
    """Whoever imports mergershift into a program of their own keeps their environment."""
    code = (
        "import os\nbefore = dict(os.environ)\n"
        "import mergershift, mergershift.cli.main, mergershift.config, mergershift.core.processes\n"
        "assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_process_ends_with_the_one_that_started_it_even_behind_a_shell() -> None:
    """SIGKILL cannot be handled, and the shell in between lives on."""
    child = (
        "from mergershift.core.processes import end_with_starter\n"
        "import time; end_with_starter(); print('ready', flush=True); time.sleep(60)"
    )
    starter = (
        "import subprocess, sys, time\n"
        "from mergershift.core.processes import environment\n"
        "command = ['sh', '-c', f'{sys.executable} -c \"$CHILD\"; echo ended with $?']\n"
        "subprocess.Popen(command, env=environment()); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", starter], env=os.environ | {"CHILD": child}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    assert process.stdout.read() == "ended with 143\n"
    process.wait()


def test_processes_are_found_by_the_variables_that_they_were_started_with() -> None:
    command = [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(60)"]
    process = subprocess.Popen(command, env=environment() | {"MARK": "x"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    kill_processes(lambda running: variable_of(running, "MARK") == "x")
    assert not psutil.pid_exists(process.pid), "it has ended, and been waited for"


@pytest.mark.parametrize("signals", ["SIG_IGN", "default_int_handler"])
def test_processes_are_asked_to_end_before_they_are_killed(
    signals: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent says what it sees; the child of a training, such as a loader of images, is left to it."""
    monkeypatch.setattr("mergershift.core.processes.GRACE_SECONDS", 0.5 if signals == "SIG_IGN" else 10)
    code = (
        "import signal, subprocess, sys, time\n"
        f"signal.signal(signal.SIGTERM, signal.{signals})\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('ready', flush=True)\n"
        "try: time.sleep(60)\n"
        "except KeyboardInterrupt: time.sleep(0.5); print('child', child.poll(), flush=True)"
    )
    command, variables = [sys.executable, "-c", code], os.environ | {"MARK": "x"}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    end_processes(lambda running: variable_of(running, "MARK") == "x")
    assert process.stdout.read() == ("" if signals == "SIG_IGN" else "child None\n")


def test_a_signal_that_a_scheduler_repeats_interrupts_once() -> None:
    with interrupted_by(*STOP_SIGNALS) as arrived:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)
    assert arrived == [signal.SIGUSR1, signal.SIGTERM]


@pytest.mark.parametrize(
    ("variables", "files", "expected"),
    [
        ({}, {}, 8),
        ({"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "6"}, {}, 2),
        ({"SLURM_CPUS_ON_NODE": "6"}, {}, 6),
        ({"SLURM_CPUS_PER_TASK": "64"}, {}, 8),
        ({}, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({}, {"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/cpu.max": "50000 100000\n"}, 1),
        ({}, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        (
            {},
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "400000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
    ],
)
def test_cores_are_limited_by_the_scheduler_and_the_container(
    variables: dict[str, str],
    files: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(variables, tmp_path) == expected


def test_a_refusal_explains_srun_only_where_it_started_several_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock"
    with exclusive_lock(lock, "busy."):
        monkeypatch.setenv("SLURM_NTASKS", "4")  # sbatch --ntasks=4 without srun: one process
        with pytest.raises(UserError, match=r"busy\.$"), exclusive_lock(lock, "busy."):
            pass
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
        with pytest.raises(UserError, match=r"4 times.*--ntasks=1"), exclusive_lock(lock, "busy."):
            pass
