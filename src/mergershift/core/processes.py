"""Environment, cores and signals of the processes that the project runs in."""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

ENDS_WITH = "MERGERSHIFT_ENDS_WITH"
"""Environment variable with the number of the process whose end also ends the processes that it started."""
GRACE_SECONDS = 20
"""How long a process that is asked to end may take before it is killed."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which a scheduler announces the end of a job (SLURM: `--signal=USR1@60`), or a terminal its own."""
_REPETITION_SECONDS = 5.0
_POLL_SECONDS = 0.2


class Hangup(KeyboardInterrupt):
    """The terminal of this command has been closed (SIGHUP), which nobody need have meant to end its work."""


def set_environment_defaults() -> None:
    """Set the environment variables that libraries read on import, unless the user has set them.

    Call this before importing any of those libraries. By default PyTorch's threads wait for each other by spinning,
    which makes a step several times slower if another program uses the same cores. So do those of NumPy's and SciPy's
    OpenBLAS, whose matrices here are too small to share: a second thread doubles an evaluation's processor time. With
    one, results do not depend on the number of cores either. On a GPU, PyTorch refuses products that are not
    reproducible, and decides that once, before Lightning sets the variable for cuBLAS.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def environment() -> dict[str, str]:
    """Return an environment for child processes that end with this one and use this interpreter, activated or not.

    `mergershift` and `dvc` are those of this interpreter. A child ends with this process if it calls
    `end_with_starter`.
    """
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PATH": path, ENDS_WITH: str(os.getpid())}


def end_with_starter() -> None:
    """Let this process end when the one that started it does, even by SIGKILL and even if a shell is in between.

    The process that started it is the one that made its environment with `environment`; without such an environment
    this does nothing. This process gets a SIGTERM, and is killed if it still runs `GRACE_SECONDS` later.
    """
    starter = os.environ.pop(ENDS_WITH, "")
    if starter.isdecimal():
        threading.Thread(target=_end_after, args=(int(starter),), daemon=True).start()


def _end_after(starter: int) -> None:
    _wait_for_end(starter)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_for_end(pid: int) -> None:
    import psutil

    # On Linux a process has ended for its descriptor even while nobody has waited for it, as in many containers.
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:  # a kernel without it, or a sandbox that forbids it
            pass
        else:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll()
            os.close(descriptor)
            return
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()


def kill_processes(chosen: Callable[[psutil.Process], bool]) -> None:
    """Kill all processes that `chosen` accepts, including those forked meanwhile, and wait until they have ended."""
    import psutil

    for _ in range(5):  # again for processes that were forked during the previous pass
        found = [process for process in psutil.process_iter() if chosen(process)]
        if not found:
            return
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)


def end_processes(chosen: Callable[[psutil.Process], bool]) -> None:
    """Ask all processes that `chosen` accepts to end, and kill those that still run `GRACE_SECONDS` later.

    A process gets one SIGTERM. What a Python process has started is left to it until it has ended: a training whose
    workers ended first would take that for a failure of theirs.
    """
    import psutil

    asked: set[psutil.Process] = set()
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        while time.monotonic() < deadline:
            found = [process for process in psutil.process_iter() if chosen(process)]
            if not found:
                return
            python = {process.pid for process in found if _is_python(process)}
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    if process not in asked and process.ppid() not in python:
                        asked.add(process)
                        process.terminate()
            psutil.wait_procs(found, timeout=_POLL_SECONDS)
    finally:
        kill_processes(chosen)


def _is_python(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.Error, OSError):
        return os.path.basename(process.exe()).lower().startswith("python")
    return False


def variable_of(process: psutil.Process, name: str) -> str | None:
    """Return an environment variable that another running process was started with, or None."""
    import psutil

    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(name)
    except (psutil.Error, OSError):
        return None


def available_cores(environ: Mapping[str, str] = os.environ, system: Path = Path("/")) -> int:
    """Return the number of processor cores that this process may use.

    The smallest of the process's affinity, what SLURM has granted the task (or else the job, on this node), and the
    CPU quota of the container or job, rounded up.

    Args:
        environ: environment variables, for SLURM's.
        system: root of the file system, for the control groups in proc/ and sys/.
    """
    bounds = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    granted = environ.get("SLURM_CPUS_PER_TASK") or environ.get("SLURM_CPUS_ON_NODE") or ""
    if granted.isdecimal():
        bounds.append(int(granted))
    bounds += [math.ceil(quota) for quota in _cpu_quotas(system)]
    return max(1, min(bounds))


def _cpu_quotas(system: Path) -> Iterator[float]:
    """Yield the CPU quotas, in cores, of this process's control group and of those that contain it (v1, v2)."""
    with suppress(OSError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mount = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
            group = PurePosixPath(path.lstrip("/"))
            for folder in (mount / group, *(mount / parent for parent in group.parents)):
                with suppress(OSError, ValueError):
                    if controllers:
                        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                        quota, period = (float((folder / name).read_text()) for name in files)
                    else:  # "max 100000" without a quota, which is no number
                        quota, period = map(float, (folder / "cpu.max").read_text().split())
                    if quota > 0:
                        yield quota / period


def several_tasks(environ: Mapping[str, str] = os.environ) -> str:
    """Return a sentence that explains a refusal if `srun` has started this command several times; otherwise nothing."""
    tasks = environ.get("SLURM_STEP_NUM_TASKS", "1")
    if not tasks.isdecimal() or int(tasks) < 2:
        return ""
    return f" `srun` started this command {tasks} times, once per task: use `srun --ntasks=1`."


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt on signals that would otherwise end this process at once, such as SLURM's SIGTERM.

    SIGHUP raises its subclass Hangup. Yields the list of the signals that arrived, for the exit code.

    A repetition within seconds does nothing: schedulers signal a process more than once, and what is being saved after
    the first signal must not be disturbed.
    A signal that is being ignored, as under nohup, stays ignored. Outside the main thread, in which Python handles
    signals, this does nothing.
    """
    owner, latest = os.getpid(), -math.inf
    arrived: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal latest
        if os.getpid() != owner:  # a forked process ends as it would without this handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        arrived.append(number)
        before, latest = latest, time.monotonic()
        if latest - before > _REPETITION_SECONDS:
            raise Hangup if number == signal.SIGHUP else KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in signals if main and signal.getsignal(number) is signal.SIG_DFL]
    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
