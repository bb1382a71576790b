"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return the number with its noun: ``1 seed``, ``3 seeds``; `plural` is for nouns that do not just add an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
