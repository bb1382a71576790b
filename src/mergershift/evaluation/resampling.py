"""Draw galaxies within their class, and seeds, and read an interval off the replicates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.evaluation.metrics import Floats

RESAMPLES = 2000
LEVEL = 0.95
# 32 MB of weights at a time, however many images there are.
_WEIGHTS_AT_ONCE = 4_000_000


class Interval(TypedDict):
    """A figure and the bounds of its interval; NaN where undefined, no bounds where none make sense."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]


def galaxy_members(
    truth: NDArray[np.bool_], galaxies: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return each image's galaxy as `(N,)` places 0..G-1 in the names' order, and the galaxies' classes `(G,)`.

    Raises ValueError where shapes differ and where a galaxy has images of both labels.
    """
    names = np.asarray(galaxies)
    if names.shape != truth.shape:
        raise ValueError(f"galaxies {names.shape} and labels {truth.shape}, expected (N,) each")
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    classes = truth[first].astype(np.int64)
    mixed = np.flatnonzero(classes[members] != truth)
    if len(mixed):
        raise ValueError(f"galaxy {names[mixed[0]]} has images of both labels, expected one label a galaxy")
    return members, classes


def one_galaxy_only(classes: NDArray[np.int64]) -> bool:
    """Tell whether a class has a single galaxy, which says nothing about other galaxies."""
    return bool(np.unique(classes, return_counts=True)[1].min() < 2)


def draws(
    classes: NDArray[np.int64], seeds: int, images: int, resamples: int, rng_seed: int
) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Yield, some replicates at a time, how often each galaxy counts `(R, G)` and the drawn seeds `(R, seeds)`.

    Galaxies are drawn with replacement within their class, as many as there are. The draws depend on the
    arguments alone: whatever is computed from the same ones is paired.

    Args:
        classes: `(G,)` class of each galaxy.
        seeds: number of trainings.
        images: number of images, by which memory is kept in bounds.
        resamples: number of replicates in all.
        rng_seed: seed of the resampling.
    """
    rng = np.random.default_rng(rng_seed)
    step = max(1, _WEIGHTS_AT_ONCE // images)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        yield _draw_galaxies(rng, classes, count), rng.integers(seeds, size=(count, seeds))


def percentile_interval(value: float, replicates: Floats) -> Interval:
    """Return `value` with the middle 95 % of the replicates that are defined; NaN bounds where there is none."""
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or not len(defined):
        return Interval(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _draw_galaxies(rng: np.random.Generator, classes: NDArray[np.int64], count: int) -> Floats:
    drawn = np.empty((count, len(classes)))
    for each in np.unique(classes):
        places = np.flatnonzero(classes == each)
        drawn[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=count)
    return drawn
