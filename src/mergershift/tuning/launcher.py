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
from mergershift.tuning.endings import FAILURES_IN_A_ROW, REASON, failed_in_a_row, finished
from mergershift.tuning.reporting import Reporter
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
        with interrupted_by(signal.SIGTERM), Reporter(search, study) as reporter:
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
