"""Progress bars, drawn on standard error if it is a terminal and left out of log files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class ProgressBars:
    """Several progress bars, with messages printed above them; without a terminal, only the messages appear.

    Args:
        unit: What the bars count.
        shown: Whether to draw bars on a terminal.
        time_left: Whether to estimate the time that is left, from the last half minute.
        console: Console to draw on; standard error by default.
    """

    def __init__(
        self,
        unit: Literal["items", "bytes"] = "items",
        *,
        shown: bool = True,
        time_left: bool = True,
        console: Console | None = None,
    ) -> None:
        self._console = console or Console(stderr=True)
        counts: tuple[ProgressColumn, ...] = (
            (DownloadColumn(), TransferSpeedColumn()) if unit == "bytes" else (MofNCompleteColumn(),)
        )
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *counts,
            *((TimeRemainingColumn(),) if time_left else ()),
            console=self._console,
            transient=unit == "items",
            disable=not (shown and self._console.is_terminal),
        )

    @property
    def on_terminal(self) -> bool:
        """Whether the console is a terminal, on which bars can be drawn."""
        return self._console.is_terminal

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def print(self, line: str) -> None:
        """Print a line, above any bars."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def add(self, name: str, total: int | None, done: int = 0) -> Bar:
        """Add a bar, of which `done` of `total` are done; without a `total` it only shows activity."""
        return Bar(self._progress, self._progress.add_task(name, total=total, completed=done))


class Bar:
    """One bar of `ProgressBars`."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, count: int) -> None:
        """Advance the bar by `count`."""
        self._progress.advance(self._task, count)

    def update(self, done: int, total: int, name: str | None = None) -> None:
        """Set the numbers done and in total, and the name if a new one is given."""
        self._progress.update(self._task, completed=done, total=total, description=name)


@contextmanager
def progress_bar(name: str, total: int, *, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a single bar that counts items; yields the function that advances it."""
    with ProgressBars(shown=shown) as bars:
        yield bars.add(name, total).advance
