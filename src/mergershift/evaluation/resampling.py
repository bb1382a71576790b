"""Random draws of galaxies within their class, and percentile intervals of the replicates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.evaluation.metrics import Floats

RESAMPLES = 2000
LEVEL = 0.95
# This limits the weights in memory to 32 MB, whatever the number of images.
_WEIGHTS_AT_ONCE = 4_000_000


class Interval(TypedDict):
    """A value with the bounds of its interval; undefined numbers are NaN, and sizes have no bounds."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]


def galaxy_members(
    truth: NDArray[np.bool_], galaxies: ArrayLike
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Return each image's galaxy as an index `(N,)` from 0 to G - 1, in sorted order, and the classes `(G,)`.

    Raises ValueError if the shapes differ or a galaxy has images with both labels.
    """
    names = np.asarray(galaxies)
    if names.shape != truth.shape:
        raise ValueError(f"galaxies {names.shape} and labels {truth.shape}, expected (N,) each")
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    classes = truth[first].astype(np.int64)
    mixed = np.flatnonzero(classes[members] != truth)
    if len(mixed):
        raise ValueError(
            f"galaxy {names[mixed[0]]} has images with both labels, expected one label per galaxy"
        )
    return members, classes


def one_galaxy_only(classes: NDArray[np.int64]) -> bool:
    """Return whether a class has a single galaxy, from which the variation between galaxies cannot be estimated."""
    return bool(np.unique(classes, return_counts=True)[1].min() < 2)


def draws(classes: NDArray[np.int64], images: int, resamples: int, rng_seed: int) -> Iterator[Floats]:
    """Yield the multiplicity of each galaxy `(R, G)`, R replicates at a time.

    As many galaxies as a class has are drawn from it with replacement. The draws depend on the arguments alone, so
    that quantities computed with the same arguments are paired.

    Args:
        classes: class of each galaxy, `(G,)`.
        images: number of images, which determines R so that memory is limited.
        resamples: total number of replicates.
        rng_seed: seed of the resampling.
    """
    if resamples * len(classes) > _WEIGHTS_AT_ONCE:
        yield from _draws(classes, images, resamples, rng_seed)
    else:  # the methods of a study, tested on the same galaxies, share them
        yield from _remembered_draws(classes.astype(np.int64).tobytes(), images, resamples, rng_seed)


@lru_cache(maxsize=4)
def _remembered_draws(classes: bytes, images: int, resamples: int, rng_seed: int) -> tuple[Floats, ...]:
    found = tuple(_draws(np.frombuffer(classes, dtype=np.int64), images, resamples, rng_seed))
    for weights in found:
        weights.setflags(write=False)
    return found


def _draws(classes: NDArray[np.int64], images: int, resamples: int, rng_seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(rng_seed)
    step = max(1, _WEIGHTS_AT_ONCE // images)
    for start in range(0, resamples, step):
        yield _draw_galaxies(rng, classes, min(step, resamples - start))


def percentile_interval(value: float, replicates: Floats) -> Interval:
    """Return `value` with the central 95 % interval of the finite replicates; the bounds are NaN if there are none."""
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or not len(defined):
        return Interval(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _draw_galaxies(rng: np.random.Generator, classes: NDArray[np.int64], count: int) -> Floats:
    drawn = np.empty((count, len(classes)))
    for label in np.unique(classes):
        places = np.flatnonzero(classes == label)
        drawn[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=count)
    return drawn
