"""The one exception that a user's mistake raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend; the command line prints it without a traceback.

    The message takes one or two lines and says what was found where, what was expected and what to do.
    """


class Diverged(UserError):
    """A training whose outputs are no numbers any more: a mistake in its settings, and an outcome in a search."""


def nearest(word: str, names: Iterable[str], count: int = 3) -> str:
    """Name the `names` most like `word`, as ``'a', 'b'``; all of them where they are few and none is alike."""
    known = sorted(set(names))
    close = difflib.get_close_matches(word, known, n=count, cutoff=0.5)
    return ", ".join(f"'{name}'" for name in close or known[:12])
