"""Progress of the cells that run in parallel: a live table on a terminal, otherwise one line per event."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mergershift.cells.state import read_progress
from mergershift.config.study import Cell
from mergershift.core.words import counted, roughly

RUNNING = re.compile(r"^Running stage '([^'@]+)", re.MULTILINE)
DOING = {"train": "training", "evaluate": "evaluating"}
STYLES = {"up to date": "dim", "waiting": "dim", "running": "cyan", "done": "green", "failed": "bold red"}
TRAINING_SHARE = 0.9
"""Share of a cell's time that its training takes, roughly."""
LEAST_DONE = 0.2
"""Number of cells that have to be done, fractions included, before the time that is left is estimated."""
# Rows that do not fit the terminal are dropped in this order.
LEAST = ("up to date", "done", "waiting", "running", "failed")


@dataclass
class CellProgress:
    """State of a cell, when it started and, once it has ended, how long it took."""

    state: str = "up to date"
    log: Path | None = None
    started: float = 0.0
    seconds: float = 0.0
    note: str = ""
    """What the cell waits for, or where it runs."""


class Dashboard:
    """Shows the progress of cells.

    Args:
        cells: names of the cells, in the order of the rows.
        state: folder in which trainings write their progress.
        console: where the table is drawn, standard output by default.
    """

    def __init__(self, cells: Sequence[str], state: Path, console: Console | None = None) -> None:
        self._rows = {name: CellProgress() for name in cells}
        self._state = state
        self._console = console or Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self.draw()
            self._live.stop()

    def wait(self, name: str, note: str = "") -> None:
        """Mark a cell as waiting to be run, for the reason in the `note`."""
        self._rows[name].state, self._rows[name].note = "waiting", note

    def start(self, name: str, log: Path) -> None:
        """Mark a cell as running; its output goes to `log`."""
        self._rows[name] = CellProgress("running", log, time.monotonic())
        self._print_event(f"{_short(name)}: started")

    def note(self, name: str, note: str) -> None:
        """Add to the state of a running cell, for instance where it runs."""
        self._rows[name].note = note

    def end(self, name: str, *, failed: bool) -> None:
        """Mark a running cell as done or failed."""
        row = self._rows[name]
        row.state = "failed" if failed else "done"
        row.seconds = time.monotonic() - row.started
        ended = sum(other.state in ("done", "failed") for other in self._rows.values())
        total = counted(sum(other.state != "up to date" for other in self._rows.values()), "cell")
        self._print_event(
            f"{_short(name)}: {row.state} after {_clock(row.seconds)}; {ended} of {total}{self._left()}"
        )

    def retry(self, name: str, reason: str, outcome: str = "it is tried once more") -> None:
        """Mark a running cell as waiting to be run once more, for this reason."""
        self.wait(name)
        line = f"{_short(name)}: {reason}; {outcome}"
        if self._live:
            self._console.print(line, highlight=False)
        self._print_event(line)

    def draw(self) -> None:
        """Redraw the table, if there is a terminal."""
        if self._live:
            self._live.update(self.drawing(), refresh=True)

    def drawing(self) -> RenderableType:
        """Table of the cells that fit the terminal's height, and the number of cells in each state."""
        counts = Counter(row.state for row in self._rows.values())
        summary = ", ".join(f"{counts[state]} {state}" for state in reversed(LEAST) if counts[state])
        table = Table("cell", box=None)
        table.add_column("", min_width=len("training, epoch 100 of 100"))
        table.add_column("time", justify="right")
        capacity = max(self._console.height - 4, 1)
        ranked = sorted(self._rows, key=lambda name: -LEAST.index(self._rows[name].state))
        visible = set(ranked[:capacity])
        for name, row in self._rows.items():
            if name in visible:
                seconds = time.monotonic() - row.started if row.state == "running" else row.seconds
                doing = self.doing(name) if row.state == "running" else row.state
                noted = f"{doing} {row.note}" if row.note and row.state in ("running", "waiting") else doing
                table.add_row(
                    _short(name), Text(noted, STYLES[row.state]), _clock(seconds) if seconds else ""
                )
        elapsed = _clock(time.monotonic() - self._started)
        return Group(table, Text(f" {summary}; {elapsed}{self._left()}", "dim"))

    def _left(self) -> str:
        """Roughly how long the cells that are not done will take, to append to a line; empty if it is unknown."""
        to_run = [name for name, row in self._rows.items() if row.state != "up to date"]
        done = sum(map(self._fraction, to_run))
        left = (time.monotonic() - self._started) * (len(to_run) / max(done, LEAST_DONE) - 1)
        if done < LEAST_DONE or done == len(to_run):
            return ""
        return f", {roughly(left)} left"

    def _fraction(self, name: str) -> float:
        """Share of a cell's work that is done, from 0 to 1."""
        row = self._rows[name]
        if row.state != "running":
            return float(row.state in ("done", "failed"))
        stage = self._stage(name)
        progress = read_progress(self._state / name) if stage == "train" else None
        if progress:
            return TRAINING_SHARE * progress[0] / progress[1]
        return TRAINING_SHARE if stage == "evaluate" else 0.0

    def doing(self, name: str) -> str:
        """Current step of a running cell, read from DVC's output and the progress file of its training."""
        stage = self._stage(name)
        if stage is None:
            return "starting"
        return DOING.get(stage, stage) + (self._progress(name) if stage == "train" else "")

    def _stage(self, name: str) -> str | None:
        """Name of the stage that a cell runs; None before the first."""
        log = self._rows[name].log
        try:
            stages = RUNNING.findall(log.read_text(errors="replace")) if log else []
        except OSError:
            stages = []
        return stages[-1] if stages else None

    def _progress(self, name: str) -> str:
        progress = read_progress(self._state / name)
        return f", epoch {progress[0]} of {progress[1]}" if progress else ""

    def _print_event(self, line: str) -> None:
        if not self._live:
            print(line, flush=True)


def _short(name: str) -> str:
    cell = Cell.at(name)
    return cell.name if cell else name.removeprefix("cells/")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
