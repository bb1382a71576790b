"""The processes that work on a study, and what is told of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import optuna
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.pipeline.repro import environment
from mergershift.tuning.objective import FINISHED, original_number
from mergershift.tuning.storage import Search

RESTARTS = 3
"""Times that a worker that was killed is started again."""
_LOOK = 0.5


def run_workers(search: Search, study: optuna.Study, overrides: list[str], count: int) -> None:
    """Start the workers, start those that were killed again, tell of every finished trial, and wait for all.

    Raises UserError where a worker stopped with one.
    """
    logs = main_checkout() / "state" / "logs" / "tuning"
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mergershift", "tune", "--worker", *overrides]
    paths = [logs / f"{search.name}-{number}.log" for number in range(count)]
    restarts = [RESTARTS] * count

    def start(number: int) -> subprocess.Popen[bytes]:
        with paths[number].open("wb") as log:
            # A session of their own: Ctrl-C reaches them through this process, once.
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )

    finished = len(study.get_trials(deepcopy=False, states=FINISHED))
    missing = search.tuning.trials - finished
    if missing <= 0:
        return
    processes = [start(number) for number in range(min(count, missing))]
    try:
        with _terminable(), _Teller(search, study) as teller:
            alive = True
            while alive:
                teller.tell()
                alive = False
                for number, process in enumerate(processes):
                    status = process.poll()
                    if status is not None and status < 0 and restarts[number]:
                        restarts[number] -= 1
                        teller.say(f"worker {number} was killed (signal {-status}) and is started again")
                        processes[number] = start(number)
                    elif status:
                        raise UserError(_last_words(paths[number], number, status))
                    alive |= status != 0
                if alive:
                    time.sleep(_LOOK)
    finally:
        _stop(processes)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_words(log: Path, number: int, status: int) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [place for place, line in enumerate(lines) if line.startswith("Error: ")]
    words = "\n".join(lines[said[-1] :][:2]).removeprefix("Error: ") if said else f"see {log}"
    return f"worker {number} ended with exit code {status}: {words}"


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, with which SLURM ends a job, stop the workers as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Teller:
    """Says which trials have finished: a bar on a terminal, and a line for each."""

    def __init__(self, search: Search, study: optuna.Study) -> None:
        self._names, self._study = search.tuning.objectives, study
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[running]} running"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._told = {each.number for each in study.get_trials(deepcopy=False, states=FINISHED)}
        self._task = self._bar.add_task("", total=search.tuning.trials, completed=len(self._told), running=0)

    def __enter__(self) -> _Teller:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def tell(self) -> None:
        """Say what has happened since."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state in FINISHED and trial.number not in self._told:
                self._told.add(trial.number)
                self.say(self._line(trial))
        running = sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials)
        self._bar.update(self._task, completed=len(self._told), running=running)

    def _line(self, trial: optuna.trial.FrozenTrial) -> str:
        original = original_number(trial)
        again = f" (takes up {original})" * (original != trial.number)
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        if trial.values is not None and trial.state == optuna.trial.TrialState.COMPLETE:
            said = ", ".join(
                f"{name} {value:.4f}" for name, value in zip(self._names, trial.values, strict=True)
            )
        else:
            step = trial.last_step
            said = trial.user_attrs.get("why", "pruned") + (
                f" after epoch {step}" if step is not None else ""
            )
        return f"trial {trial.number}{again}: {said}, {seconds:.0f} s"
