"""Numbers of things, and lengths of time, in words."""

from __future__ import annotations

import math


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return the number with its noun: ``1 seed``, ``3 seeds``; `plural` is for nouns that do not just add an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def roughly(seconds: float) -> str:
    """Word an estimated length of time: ``about 5 minutes``."""
    minutes = math.ceil(seconds / 60)
    if minutes > 90:
        return f"about {counted(round(minutes / 60), 'hour')}"
    return "less than a minute" if minutes <= 1 else f"about {minutes} minutes"
