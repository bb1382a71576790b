"""The processes that the project starts, and the signals that end them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def set_environment_defaults() -> None:
    """Set what libraries read from the environment as they are imported, unless the user has set it.

    To be called before the first of them is imported. PyTorch's threads wait for each other by spinning; where
    another program wants the cores too, that makes a step several times slower.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def environment() -> dict[str, str]:
    """Environment of a process in which `mergershift` and `dvc` are those that run now, activated or not."""
    return os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"}


def available_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Make signals that would end this process at once, such as SLURM's SIGTERM, interrupt it as Ctrl-C does.

    A signal that is ignored, as by nohup, stays ignored. Outside the main thread, where Python takes no signals,
    nothing changes.
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
