"""Start the worker processes of a study and report their progress."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import optuna

from mergershift.core.checkout import workspace
from mergershift.core.errors import UserError
from mergershift.core.gpus import spread
from mergershift.core.processes import environment, interrupted_by
from mergershift.core.progress import ProgressBars
from mergershift.tuning.endings import (
    FAILURES_IN_A_ROW,
    REASON,
    WHY,
    failed_in_a_row,
    finished,
    is_finished,
    original_number,
)
from mergershift.tuning.storage import Search

SEARCH = "MERGERSHIFT_SEARCH"
"""Environment variable with a worker's overrides as JSON. Other users can read command lines, and the address of the
study's database may contain a password."""
RESTARTS = 3
"""How often a worker that was killed is restarted."""
_POLL_SECONDS = 0.5


def run_workers(search: Search, study: optuna.Study, overrides: list[str], count: int) -> None:
    """Run `count` workers to their end, restart those that were killed, and report every finished trial.

    Raises UserError with the worker's error message if one of them fails, and if several trials in a row fail.
    """
    logs = workspace() / "state" / "logs" / "tuning"
    logs.mkdir(parents=True, exist_ok=True)
    before = study.get_trials(deepcopy=False)
    first = ["--first-trial", str(len(before))]
    command = [sys.executable, "-m", "mergershift", "tune", "--as-worker", *first]
    paths = [logs / f"{search.name}-{number}.log" for number in range(count)]
    restarts = [RESTARTS] * count

    def start(number: int) -> subprocess.Popen[bytes]:
        with paths[number].open("wb") as log:
            # In its own session a worker does not receive the terminal's Ctrl-C, only the signal from `_stop`.
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment() | {SEARCH: json.dumps(overrides)} | gpus.variables[number],
                start_new_session=True,
            )

    missing = search.tuning.trials - len(finished(before))
    if missing <= 0:
        return
    count = min(count, missing)
    gpus = spread(search.config.trainer.accelerator, count)
    if gpus.note:
        print(gpus.note, file=sys.stderr, flush=True)
    processes = [start(number) for number in range(count)]
    try:
        with interrupted_by(signal.SIGTERM), _Reporter(search, study) as reporter:
            alive = True
            while alive:
                reporter.update()
                alive = False
                for number, process in enumerate(processes):
                    status = process.poll()
                    if status is not None and (killer := _signal(status)) and restarts[number]:
                        restarts[number] -= 1
                        reporter.print(f"worker {number} was killed (signal {killer}); restarting it")
                        processes[number] = start(number)
                    elif status:
                        raise UserError(_failure(paths[number], number, status))
                    alive |= status != 0
                if alive:
                    time.sleep(_POLL_SECONDS)
    finally:
        _stop(processes)
    trials = study.get_trials(deepcopy=False)
    last = failed_in_a_row(trials, len(before))
    if last is not None and len(finished(trials)) < search.tuning.trials:
        raise UserError(
            f"{search.name}: {FAILURES_IN_A_ROW} trials in a row failed, the last with {last.user_attrs[REASON]}.\n"
            f"Narrow the ranges (tuning.space.KEY.high=...) or free memory; {logs} has the full errors. The same "
            "command continues the search."
        )


def _signal(status: int) -> int:
    """Return the signal that ended a process with this exit code, or 0; one that stops a command adds 128."""
    return max(-status, status - 128, 0)


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


def _failure(log: Path, number: int, status: int) -> str:
    """Message about a failed worker: the last UserError in its log, or else the path of the log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if line.startswith("Error: ")]
    message = "\n".join(lines[errors[-1] :][:2]).removeprefix("Error: ") if errors else f"see {log}"
    return f"worker {number} failed with exit code {status}: {message}"


class _Reporter:
    """Reports finished trials: one line per trial, and a progress bar on a terminal."""

    def __init__(self, search: Search, study: optuna.Study) -> None:
        self._names, self._study = search.tuning.objectives, study
        self._total = search.tuning.trials
        self._progress = ProgressBars()
        self._reported = {trial.number for trial in finished(study.get_trials(deepcopy=False))}
        self._finished = self._progress.add("trials", self._total, len(self._reported))

    def __enter__(self) -> _Reporter:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def print(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._progress.print(text)

    def update(self) -> None:
        """Report the trials that have finished since the last call, and the number that are running."""
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            if is_finished(trial) and trial.number not in self._reported:
                self._reported.add(trial.number)
                self.print(self._describe(trial))
        running = sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials)
        self._finished.update(len(self._reported), self._total, f"trials ({running} running)")

    def _describe(self, trial: optuna.trial.FrozenTrial) -> str:
        original = original_number(trial)
        retry = f" (retry of trial {original})" * (original != trial.number)
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        if trial.values is not None and trial.state == optuna.trial.TrialState.COMPLETE:
            result = ", ".join(
                f"{name} {value:.4f}" for name, value in zip(self._names, trial.values, strict=True)
            )
        else:
            step = trial.last_step
            result = trial.user_attrs.get(WHY, "pruned") + (
                f" after epoch {step}" if step is not None else ""
            )
            result += f" ({trial.user_attrs[REASON]})" if REASON in trial.user_attrs else ""
        return f"trial {trial.number}{retry}: {result}, {seconds:.0f} s"
