"""`mergershift repro --jobs N`: run the cells of the pipeline in parallel, each worker in its own worktree.

DVC runs one stage at a time in a workspace. A worktree is a second workspace: the results of a cell that runs there go
into the shared cache, where the checkout's own `dvc repro` finds them, so that it does not run the cell again.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from mergershift.core.checkout import root, workspace
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.core.gpus import spread
from mergershift.core.processes import environment, interrupted_by
from mergershift.core.words import counted
from mergershift.pipeline import worktrees
from mergershift.pipeline.dashboard import Dashboard
from mergershift.pipeline.dvc import REMEDY, dvc_repro, finish, killed_by, quiet_dvc, reason, run_repro
from mergershift.pipeline.graph import CellStages, survey
from mergershift.pipeline.results import Remote
from mergershift.pipeline.warm import FORKS, WarmProcess

LOCK = "jobs.lock"
"""File in state/ that the one command holds that runs cells in parallel, here or on a cluster."""
LONG = {"tune"}
"""Stages before the cells that may take hours, during which no process waits for cells."""
POLL_SECONDS = 0.2
TAIL_LINES = 12
BUSY = "another `mergershift repro --jobs` or `--on` is running.\nWait for it, or stop it and run the command again."


def repro(jobs: int, accelerator: str = "cpu", remote: Remote | None = None, processes: int = 1) -> None:
    """Run the stages that the cells need, then the outdated cells, `jobs` at a time, and then all later stages.

    On the trainer's `accelerator` "gpu", the worktrees are spread over the machine's GPUs. `remote` is what the
    command has found out about DVC's remote so far, `processes` the number of processes of each training, which need
    as many GPUs.

    If a cell fails, the others still run to their end and are kept, and then UserError is raised. It is also raised
    if a cell is outdated again at the end because something it depends on has changed while the cells ran.
    """
    here = root()
    state = workspace() / "state"
    remote = remote or Remote()
    worktrees.check(here, "--jobs")
    with exclusive_lock(state / LOCK, BUSY):
        worktrees.kill_all(state / "worktrees")
        plan, outdated = survey(here, remote)
        stale = [cell for cell in plan.cells if cell.name in outdated]
        before = outdated.intersection(plan.before)
        number = min(jobs, len(plan.cells if before and not stale else stale))
        gpus = spread(accelerator, number, each=processes)
        workers = Workers(here, state / "worktrees", gpus.variables)
        failed: dict[CellStages, int] = {}
        with interrupted_by(signal.SIGTERM, signal.SIGHUP), workers:
            if before:
                if not any(stage.partition("@")[0] in LONG for stage in before):
                    workers.begin()
                dvc_repro(plan.before)
                plan, outdated = survey(here, remote)
                stale = [cell for cell in plan.cells if cell.name in outdated]
            if stale:
                workers.keep(len(stale))
                workers.link(stale)
                print(
                    f"{len(stale)} of {counted(len(plan.cells), 'cell')} to run, {len(workers.trees)} at a time",
                    flush=True,
                )
                if gpus.note and len(workers.trees) == number:
                    print(gpus.note, flush=True)
                dashboard = Dashboard([cell.name for cell in plan.cells], state)
                failed = run(stale, workers, state / "logs", dashboard)
                workers.keep_one()
                plan, outdated = survey(here, remote)
                stale = [cell for cell in plan.cells if cell.name in outdated]
            report({cell: _how(code) for cell, code in failed.items()}, stale, state / "logs")
            finish(plan.stages_of(outdated), workers.repro)


class Workers:
    """Worktrees, and in each the process that runs its cells; all processes end with this context.

    The last stages run in one of these processes, which has imported most of what they need.
    """

    def __init__(self, here: Path, folder: Path, variables: Sequence[dict[str, str]]) -> None:
        self._here, self._folder = here, folder
        self.trees = [folder / str(number) for number in range(1, len(variables) + 1)]
        self._environments = {
            tree: worktrees.environment(here, tree, environment() | extra)
            for tree, extra in zip(self.trees, variables, strict=True)
        }
        self._processes: dict[Path, WarmProcess] = {}
        self._sources: dict[Path, dict[Path, tuple[int, int]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._processes:
            worktrees.end_all(self._folder)  # all at once, since each may take a while to save its training
        while self._processes:
            self._processes.popitem()[1].close()

    def begin(self) -> None:
        """Start all processes, which import what cells need while the stages before the cells run."""
        with quiet_dvc():
            for tree in self.trees:
                worktrees.refresh(self._here, tree)
                self._sources[tree] = worktrees.sources(tree)
                self.ready(tree)

    def keep(self, number: int) -> None:
        """End the processes beyond a number of them."""
        for tree in self.trees[number:]:
            self.end(tree)
        del self.trees[number:]

    def link(self, cells: Sequence[CellStages]) -> None:
        """Bring the worktrees up to date, with the inputs of these cells.

        A process that has imported what has changed in the meantime is ended: the next one imports it anew.
        """
        inputs = sorted({name for cell in cells for name in cell.inputs})
        with quiet_dvc():
            for tree in self.trees:
                worktrees.refresh(self._here, tree)
                worktrees.link(self._here, tree, inputs)
                if tree in self._processes and self._sources[tree] != worktrees.sources(tree):
                    self.end(tree)

    def ready(self, tree: Path) -> WarmProcess:
        """The process in a worktree, which is started if there is none, or if it has been killed."""
        if tree in self._processes and self._processes[tree].has_ended:
            self.end(tree)
        if tree not in self._processes:
            self._processes[tree] = WarmProcess(tree, self._environments[tree])
        return self._processes[tree]

    def poll(self, tree: Path) -> int | None:
        """The exit code of the cell in a worktree; None while it runs."""
        return self._processes[tree].poll()

    def end(self, tree: Path) -> None:
        """End the process in a worktree, if there is one, and all that it has started."""
        if tree in self._processes:
            worktrees.end_all(tree)
            self._processes.pop(tree).close()

    def keep_one(self) -> None:
        """End all processes but one, which runs the last stages."""
        others = self._ready()[1:]
        worktrees.end_all(*others)
        for tree in others:
            self._processes.pop(tree).close()

    def repro(self, arguments: Sequence[str]) -> int:
        """Run `dvc repro` in the checkout and return its exit code.

        It runs in a process that has run cells, if there is one whose sources are still those of the checkout, and
        otherwise in a new process.
        """
        ready = [tree for tree in self._ready() if worktrees.same_sources(self._here, tree)]
        if not FORKS or not ready:
            return run_repro(arguments)
        tree = ready[0]
        code = self._processes[tree].repro_in(
            self._here, arguments, environment() | {worktrees.MARK: str(tree)}
        )
        if killed_by(code):  # a killed process may leave child processes behind
            self.end(tree)
        return code

    def _ready(self) -> list[Path]:
        """Worktrees with a process that runs."""
        return [tree for tree, process in self._processes.items() if not process.has_ended]


def run(
    cells: Sequence[CellStages], workers: Workers, logs: Path, dashboard: Dashboard
) -> dict[CellStages, int]:
    """Run cells, at most one per worktree at a time; returns the exit codes of those that failed.

    A cell that is killed is run once more, and then resumes its training.
    """
    waiting, free, failed = deque(cells), list(workers.trees), {}
    running: dict[Path, CellStages] = {}
    retried: set[str] = set()
    with dashboard:
        for cell in cells:
            dashboard.wait(cell.name)
        while waiting or running:
            while waiting and free:
                tree, cell = free.pop(0), waiting.popleft()
                log = log_of(logs, cell)
                log.parent.mkdir(parents=True, exist_ok=True)
                workers.ready(tree).repro(cell.stages, log)
                running[tree] = cell
                dashboard.start(cell.name, log)
            time.sleep(POLL_SECONDS)
            for tree in list(running):
                code = workers.poll(tree)
                if code is None:
                    continue
                cell = running.pop(tree)
                free.append(tree)
                name = cell.name
                if code:  # a killed process may leave child processes behind
                    workers.end(tree)
                if killed_by(code) and name not in retried:
                    retried.add(name)
                    waiting.append(cell)
                    dashboard.retry(name, reason(code))
                    continue
                if code:
                    failed[cell] = code
                dashboard.end(name, failed=code != 0)
            dashboard.draw()
    return failed


def _how(code: int) -> str:
    number = killed_by(code)
    return f"{reason(code)} twice. {REMEDY[number]}" if number else reason(code)


def log_of(logs: Path, cell: CellStages) -> Path:
    """File with the output of a cell that runs apart from the others."""
    return logs / f"{cell.name}.log"


def _names(cells: Sequence[CellStages]) -> str:
    return ", ".join(cell.name for cell in cells)


def report(failed: Mapping[CellStages, str], stale: Sequence[CellStages], logs: Path) -> None:
    """Raise UserError if cells that are still out of date have failed, or if any are.

    Args:
        failed: cells that have failed, with how they ended.
        stale: cells that are out of date after all of them have been run.
        logs: folder of their logs, whose last lines are printed.
    """
    failed = {cell: how for cell, how in failed.items() if cell in stale}
    for cell, how in failed.items():
        log = log_of(logs, cell)
        print(f"\n{cell.name} failed ({how}); its full output is in {log}", file=sys.stderr)
        text = log.read_text(errors="replace") if log.exists() else ""
        lines = [line for line in text.splitlines() if line.strip()]
        print(*(f"    {line}" for line in lines[-TAIL_LINES:]), sep="\n", file=sys.stderr)
    if failed:
        raise UserError(
            f"{_names(list(failed))} failed; see above for the last lines of its output.\n"
            "The other cells are kept, and no later stage was run: fix the error and run the same command again."
        )
    if stale:
        raise UserError(
            f"{_names(stale)}: out of date again, because something changed while the cells ran.\n"
            "Run the same command again; cells that are up to date are kept."
        )
