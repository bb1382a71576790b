"""The exceptions raised by mistakes that users can fix, and helpers that word error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from mergershift.core.redaction import public

_LONGEST_LINE = 200


class UserError(Exception):
    """A mistake that the user can fix; the command line prints it without a traceback.

    The message has one or two lines: where the problem is, what was found and what was expected, then what to do.
    """


class Diverged(UserError):
    """Outputs of a training that became NaN or infinite: a mistake in its settings, but a valid outcome of a trial."""


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """List the up to `count` names most similar to `name`, as ``'a', 'b'``; without a match, the first twelve."""
    known = sorted(set(names))
    close = similar(name, known, count)
    return ", ".join(f"'{match}'" for match in close or known[:12])


def similar(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Return the up to `count` names that may be misspelt as `name`, the most similar first."""
    return difflib.get_close_matches(name, sorted(set(names)), n=count, cutoff=0.5)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened and without credentials; its type if it has no message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return public(lines[0])[:_LONGEST_LINE]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it, the last one first.

    Libraries raise their own exceptions inside `except` blocks, often without `from`.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
