"""`mergershift repro --jobs N`: run the cells of the pipeline in parallel, each worker in its own worktree.

DVC runs one stage at a time in a workspace. A worktree is a second workspace: the results of a cell that runs there go
into the shared cache, where the checkout's own `dvc repro` finds them, so that it does not run the cell again.
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

from mergershift.core.checkout import root, workspace
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.processes import environment, interrupted_by
from mergershift.pipeline import worktrees
from mergershift.pipeline.dashboard import Dashboard
from mergershift.pipeline.dvc import dvc_repro, quiet_dvc
from mergershift.pipeline.graph import CellStages, collect, read_plan

POLL_SECONDS = 0.2
TAIL_LINES = 12
_BUSY = "another `mergershift repro --jobs` is running.\nWait for it, or stop it and run the command again."


@dataclass
class Worker:
    """A worktree and the process that runs a cell in it."""

    tree: Path
    cell: CellStages
    process: subprocess.Popen[bytes]


def repro(jobs: int) -> None:
    """Run the stages that the cells need, then the outdated cells, `jobs` at a time, and then all later stages.

    If a cell fails, the others still run to their end and are kept, and then UserError is raised. It is also raised
    if a cell is outdated again at the end because something it depends on has changed while the cells ran.
    """
    here = root()
    state = workspace() / "state"
    worktrees.check(here)
    # DVC's stage addresses are relative to the working directory.
    with exclusive_lock(state / "jobs.lock", _BUSY), chdir(here):
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
            dashboard = Dashboard([cell.name for cell in plan.cells], state)
            failed = run(here, stale, trees, state / "logs", dashboard)
            with quiet_dvc():
                stale = collect(here, plan.cells)
        if failed:
            _report(failed, state / "logs")
        if stale:
            raise UserError(
                f"{_names(stale)}: out of date again, because something changed while the cells ran.\n"
                "Run the same command again; cells that are up to date are kept."
            )
        dvc_repro()


def run(
    here: Path, cells: Sequence[CellStages], trees: Sequence[Path], logs: Path, dashboard: Dashboard
) -> dict[CellStages, int]:
    """Run cells, at most one per worktree at a time; returns the exit codes of those that failed.

    No process is left running, whether this function returns or raises.
    """
    waiting, free, failed = deque(cells), list(trees), {}
    workers: list[Worker] = []
    with dashboard, interrupted_by(signal.SIGTERM, signal.SIGHUP):
        for cell in cells:
            dashboard.wait(cell.name)
        try:
            while waiting or workers:
                while waiting and free:
                    worker = _start(here, free.pop(0), waiting.popleft(), logs)
                    workers.append(worker)
                    dashboard.start(worker.cell.name, _log(logs, worker.cell))
                time.sleep(POLL_SECONDS)
                for ended in [worker for worker in workers if worker.process.poll() is not None]:
                    workers.remove(ended)
                    free.append(ended.tree)
                    if ended.process.returncode:
                        worktrees.end_all(ended.tree)  # a killed process may leave child processes behind
                        failed[ended.cell] = ended.process.returncode
                    dashboard.end(ended.cell.name, failed=ended.process.returncode != 0)
                dashboard.draw()
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
            start_new_session=True,  # the terminal's Ctrl-C reaches only this process, which then ends the workers
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
        reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        print(f"\n{cell.name} failed ({reason}); its full output is in {log}", file=sys.stderr)
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        print(*(f"    {line}" for line in lines[-TAIL_LINES:]), sep="\n", file=sys.stderr)
    raise UserError(
        f"{_names(list(failed))} failed; see above for the last lines of its output.\n"
        "The other cells are kept, and no later stage was run: fix the error and run the same command again."
    )
