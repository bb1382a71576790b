"""The one exception that a user's mistake raises, and how errors are worded."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from mergershift.core.redaction import public

_LONGEST_LINE = 200


class UserError(Exception):
    """A mistake that the user can fix; the command line prints it without a traceback.

    The message takes one or two lines and says what was found where, what was expected and what to do.
    """


class Diverged(UserError):
    """A training whose outputs became NaN or infinite: a mistake in its settings, and an outcome in a search."""


def nearest(word: str, names: Iterable[str], count: int = 3) -> str:
    """Name the `names` most like `word`, as ``'a', 'b'``; all of them where they are few and none is alike."""
    known = sorted(set(names))
    close = difflib.get_close_matches(word, known, n=count, cutoff=0.5)
    return ", ".join(f"'{name}'" for name in close or known[:12])


def first_line(error: BaseException) -> str:
    """What went wrong in one short line without passwords; the error's type where it says nothing."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return public(lines[0])[:_LONGEST_LINE]
