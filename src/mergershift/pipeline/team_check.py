"""The outcome of a check of a part of a team's set-up, and how it is printed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_WIDTH = 10


@dataclass
class Check:
    """Outcome of the check of one part."""

    part: str
    """Name of the part: store, cache, tracking or secrets."""
    ok: bool | None = None
    """Whether it can be used; None if it is not set up."""
    found: str = ""
    """What was found, as a clause without final full stop."""
    remedy: str = ""
    """What to do, if it cannot be used or is not set up; a clause without final full stop."""
    notes: list[str] = field(default_factory=list)
    """Whatever is worth knowing, one sentence each."""
    written: list[str] = field(default_factory=list)
    """Names of the files that were written."""
    seconds: float = 0.0
    """How long the check took."""

    @property
    def lines(self) -> list[str]:
        """The lines to print."""
        state = {True: "ok", False: "FAILED", None: "-"}[self.ok]
        took = f" ({self.seconds:.1f} s)" if self.ok is not None else ""
        start = " " * (_WIDTH + 8)
        fix = [f"{start}To fix it: {self.remedy}."] if self.ok is False else []
        hint = (
            [f"{start}{self.remedy[:1].upper()}{self.remedy[1:]}."] if self.ok is None and self.remedy else []
        )
        return [
            f"{self.part:{_WIDTH}}{state:8}{self.found}{took}",
            *fix,
            *hint,
            *([f"{start}Written: {', '.join(self.written)}."] if self.written else []),
            *(f"{start}{note}" for note in self.notes),
        ]

    def fail(self, found: str, remedy: str) -> None:
        """Record a fault."""
        self.ok, self.found, self.remedy = False, found, remedy


@contextmanager
def checking(part: str) -> Iterator[Check]:
    """Yield a new check of a part, and time the block."""
    started = time.monotonic()
    check = Check(part)
    yield check
    check.seconds = time.monotonic() - started
