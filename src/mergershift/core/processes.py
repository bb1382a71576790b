"""Environment, cores and signals of the processes that the project runs in."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

ENDS_WITH = "MERGERSHIFT_ENDS_WITH"
"""Environment variable with the number of the process whose end also ends the processes that it started."""
GRACE_SECONDS = 20
"""How long a process that is asked to end may take before it is killed."""


def set_environment_defaults() -> None:
    """Set the environment variables that libraries read on import, unless the user has set them.

    Call this before importing any of those libraries. By default PyTorch's threads wait for each other by spinning,
    which makes a step several times slower if another program uses the same cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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


def variable_of(process: psutil.Process, name: str) -> str | None:
    """Return an environment variable that another running process was started with, or None."""
    import psutil

    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(name)
    except (psutil.Error, OSError):
        return None


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt on signals that would otherwise end this process at once, such as SLURM's SIGTERM.

    A signal that is being ignored, as under nohup, stays ignored. Outside the main thread, in which Python handles
    signals, this does nothing.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    taken = [number for number in signals if main and signal.getsignal(number) is signal.SIG_DFL]
    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
