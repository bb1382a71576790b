"""`mergershift repro --jobs N`: the cells of the pipeline side by side, each worker in a worktree of its own.

DVC runs one stage at a time in a workspace. A worktree is another workspace: a result that is made there and stored
in the shared cache is found there by the checkout's own `dvc repro`, which then runs nothing of it again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from mergershift.core.checkout import main_checkout, root
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.processes import environment, interrupted_by
from mergershift.pipeline import worktrees
from mergershift.pipeline.dashboard import Dashboard
from mergershift.pipeline.dvc import dvc_repro, quiet_dvc
from mergershift.pipeline.graph import CellStages, collect, read_plan

POLL_SECONDS = 0.2
TAIL_LINES = 12
_BUSY = "another `mergershift repro --jobs` runs here.\nWait for it, or stop it and give the command again."


@dataclass
class Worker:
    """A worktree and the process that runs a cell in it."""

    tree: Path
    cell: CellStages
    process: subprocess.Popen[bytes]


def repro(jobs: int) -> None:
    """Run what the cells need, then the cells that are out of date, `jobs` at a time, then all that follows.

    Raises UserError where a cell failed, after the others have ended; what ended well is kept and not run again.
    """
    here = root()
    state = main_checkout() / "state"
    worktrees.check(here)
    with exclusive_lock(state / "jobs.lock", _BUSY), chdir(here):  # DVC names stages from where one stands
        worktrees.end_all(state / "worktrees")
        with quiet_dvc():
            plan = read_plan(here)
        if plan.before:
            dvc_repro(plan.before)
        with quiet_dvc():
            stale = collect(here, plan.cells)
        failed: dict[CellStages, int] = {}
        if stale:
            trees = _trees(here, stale, state / "worktrees", jobs)
            print(f"{len(stale)} of {len(plan.cells)} cells to run, {len(trees)} at a time", flush=True)
            board = Dashboard([cell.name for cell in plan.cells], state)
            failed = run(here, stale, trees, state / "logs", board)
            with quiet_dvc():
                stale = collect(here, plan.cells)
        if failed:
            _report(failed, state / "logs")
        if stale:
            raise UserError(
                f"{_names(stale)}: out of date again, since something changed while the cells ran.\n"
                "Give the same command again; what is up to date stays."
            )
        dvc_repro()


def run(
    here: Path, cells: Sequence[CellStages], trees: Sequence[Path], logs: Path, board: Dashboard
) -> dict[CellStages, int]:
    """Run cells, one in each worktree at a time; returns those that failed with their exit codes.

    However it ends, no process of it is left.
    """
    waiting, free, failed = deque(cells), list(trees), {}
    workers: list[Worker] = []
    with board, interrupted_by(signal.SIGTERM, signal.SIGHUP):
        for cell in cells:
            board.wait(cell.name)
        try:
            while waiting or workers:
                while waiting and free:
                    worker = _start(here, free.pop(0), waiting.popleft(), logs)
                    workers.append(worker)
                    board.start(worker.cell.name, _log(logs, worker.cell))
                time.sleep(POLL_SECONDS)
                for worker in [each for each in workers if each.process.poll() is not None]:
                    workers.remove(worker)
                    free.append(worker.tree)
                    if worker.process.returncode:
                        worktrees.end_all(worker.tree)  # what a killed process left behind
                        failed[worker.cell] = worker.process.returncode
                    board.end(worker.cell.name, failed=worker.process.returncode != 0)
                board.draw()
        finally:
            worktrees.end_all(trees[0].parent)
    return failed


def _start(here: Path, tree: Path, cell: CellStages, logs: Path) -> Worker:
    log = _log(logs, cell)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", *cell.stages]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=tree,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=worktrees.environment(here, tree, environment()),
            start_new_session=True,  # a Ctrl-C in the terminal is for the one who ends them all
        )
    return Worker(tree, cell, process)


def _trees(here: Path, cells: Sequence[CellStages], folder: Path, jobs: int) -> list[Path]:
    trees = [folder / str(number) for number in range(1, min(jobs, len(cells)) + 1)]
    inputs = sorted({name for cell in cells for name in cell.inputs})
    with quiet_dvc():
        for tree in trees:
            worktrees.refresh(here, tree)
            worktrees.link(here, tree, inputs)
    return trees


def _log(logs: Path, cell: CellStages) -> Path:
    return logs / f"{cell.name}.log"


def _names(cells: Sequence[CellStages]) -> str:
    return ", ".join(cell.name for cell in cells)


def _report(failed: dict[CellStages, int], logs: Path) -> None:
    for cell, code in failed.items():
        log = _log(logs, cell)
        ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        print(f"\n{cell.name} failed ({ended}); all of it in {log}", file=sys.stderr)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        print(*(f"    {line}" for line in lines[-TAIL_LINES:]), sep="\n", file=sys.stderr)
    raise UserError(
        f"{_names(list(failed))} failed; the last lines of each stand above.\n"
        "The other cells are kept, and nothing that follows was run: mend it and give the command again."
    )
