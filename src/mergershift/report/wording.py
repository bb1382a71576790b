"""Names and counts as they are written in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from mergershift.core import words


def listed(names: Iterable[str]) -> str:
    """Join names as in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, name: str) -> str:
    """Write a count with its noun: ``1 seed``, ``2 seeds``, ``1 galaxy``, ``2 000 galaxies``."""
    return words.counted(count, name, grouping="\u202f")


def upper_first(text: str) -> str:
    """Write the first letter of a sentence in upper case."""
    return text[:1].upper() + text[1:]
