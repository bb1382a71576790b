"""The processes that work on a study, and what is told of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import optuna

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.core.processes import environment, interrupted_by
from mergershift.core.progress import ProgressBars
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
        with interrupted_by(signal.SIGTERM), _Reporter(search, study) as reporter:
            alive = True
            while alive:
                reporter.update()
                alive = False
                for number, process in enumerate(processes):
                    status = process.poll()
                    if status is not None and status < 0 and restarts[number]:
                        restarts[number] -= 1
                        reporter.print(f"worker {number} was killed (signal {-status}) and is started again")
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


class _Reporter:
    """Says which trials have finished: a bar on a terminal, and a line for each."""

    def __init__(self, search: Search, study: optuna.Study) -> None:
        self._names, self._study = search.tuning.objectives, study
        self._total = search.tuning.trials
        self._bars = ProgressBars()
        self._reported = {trial.number for trial in study.get_trials(deepcopy=False, states=FINISHED)}
        self._bar = self._bars.add("trials", self._total, len(self._reported))

    def __enter__(self) -> _Reporter:
        self._bars.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.__exit__(None, None, None)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        self._bars.print(text)

    def update(self) -> None:
        """Say what has happened since."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state in FINISHED and trial.number not in self._reported:
                self._reported.add(trial.number)
                self.print(self._line(trial))
        running = sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials)
        self._bar.update(len(self._reported), self._total, f"trials ({running} running)")

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
