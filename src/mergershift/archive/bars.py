"""Progress: bars on a terminal, a line for what matters in a log."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Bars:
    """Bars that count bytes, drawn on standard error where that is a terminal; lines are printed anywhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, line: str) -> None:
        """Print a line, above the bars where there are any."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def bar(self, name: str, total: int, done: int = 0) -> Callable[[int], None]:
        """Add a bar and return what moves it on by a number of bytes."""
        task = self._progress.add_task(name, total=total, completed=done)
        return lambda count: self._progress.advance(task, count)
