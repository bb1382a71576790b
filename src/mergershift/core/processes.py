"""Environment, cores and signals of the processes that the project runs in."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def set_environment_defaults() -> None:
    """Set the environment variables that libraries read on import, unless the user has set them.

    Call this before importing any of those libraries. By default PyTorch's threads wait for each other by spinning,
    which makes a step several times slower if another program uses the same cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def environment() -> dict[str, str]:
    """Return an environment in which `mergershift` and `dvc` are those of this interpreter, activated or not."""
    return os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"}


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
