"""Numbers of things, and lengths of time, in words."""

from __future__ import annotations

import math


def counted(number: int, noun: str, grouping: str = "") -> str:
    """Return the number with its noun: ``1 seed``, ``3 seeds``, ``2 galaxies``; `grouping` separates thousands."""
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}".replace(",", grouping)


def roughly(seconds: float) -> str:
    """Word an estimated length of time: ``about 5 minutes``."""
    minutes = math.ceil(seconds / 60)
    if minutes > 90:
        return f"about {counted(round(minutes / 60), 'hour')}"
    return "less than a minute" if minutes <= 1 else f"about {minutes} minutes"
