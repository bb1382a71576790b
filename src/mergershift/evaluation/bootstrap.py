"""Intervals by resampling galaxies, and seeds where a network was trained several times."""

from __future__ import annotations

from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import THRESHOLD, Floats, check_predictions, score, weighted_scores

RESAMPLES = 2000
LEVEL = 0.95
# 32 MB of weights at a time, however many images there are.
_WEIGHTS_AT_ONCE = 4_000_000


class Interval(TypedDict):
    """A figure and the bounds of its interval; NaN where undefined, no bounds where none make sense."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]


def bootstrap(
    labels: ArrayLike,
    probabilities: ArrayLike,
    galaxies: ArrayLike,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
    threshold: float = THRESHOLD,
) -> dict[str, Interval]:
    """Compute every metric with the 95 % percentile interval of a cluster bootstrap (Efron & Tibshirani 1993).

    All images of a galaxy are drawn together, because they show the same thing: resampling images would count
    cameras and flipped copies as independent evidence. Galaxies are drawn within their class, because the
    classes' numbers were set by whoever built the archive and the stratified split, not by chance.

    With several seeds the value is the mean of the seeds' metrics, and each replicate draws seeds too. With
    two or three seeds that understates how much trainings differ.

    The calibration error grows with the noise of its bins, so replicates lie above the value: its interval is
    the reflected one (value + value - quantile), cut at 0 and widened to hold the value. Even so, a
    classifier calibrated to better than the noise gets an interval that stays above its true error.

    Replicates in which a metric is undefined are left out of its interval. The bounds are NaN where a class
    has a single galaxy, which says nothing about other galaxies.

    Args:
        labels: `(N,)` 1 for a merger, 0 for a non-merger.
        probabilities: `(N,)` of one training, or `(S, N)` of S seeds.
        galaxies: `(N,)` which galaxy an image shows, any numbers.
        resamples: number of replicates.
        rng_seed: seed of the resampling; the same one gives the same intervals.
        threshold: an image is called a merger where its probability is at least this.

    Raises ValueError on unfit shapes, labels or probabilities, and on a galaxy with both labels.
    """
    by_seed = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    if by_seed.ndim != 2 or not len(by_seed):
        raise ValueError(f"probabilities of shape {by_seed.shape}, expected (N,) or (S, N)")
    truth = check_predictions(labels, by_seed[0])[0]
    members, classes = _galaxy_members(truth, galaxies)
    points = [score(truth, each, threshold) for each in by_seed]
    values = {name: float(np.mean([point[name] for point in points])) for name in points[0]}
    if min(np.bincount(classes, minlength=2)[np.unique(classes)]) < 2:
        return {name: Interval(value=value, low=np.nan, high=np.nan) for name, value in values.items()}

    rng = np.random.default_rng(rng_seed)
    replicates: dict[str, list[Floats]] = {name: [] for name in values}
    step = max(1, _WEIGHTS_AT_ONCE // len(truth))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        weights = _draw_galaxies(rng, classes, count)[:, members]
        drawn = rng.integers(len(by_seed), size=(count, len(by_seed)))
        scores = [weighted_scores(truth, each, weights, threshold) for each in by_seed]
        for name, parts in replicates.items():
            each_seed = np.stack([of_seed[name] for of_seed in scores], axis=1)
            parts.append(np.take_along_axis(each_seed, drawn, axis=1).mean(axis=1))
    intervals = {name: _interval(values[name], np.concatenate(parts)) for name, parts in replicates.items()}
    return intervals | {"ece": _reflected(intervals["ece"])}


def _galaxy_members(truth: np.ndarray, galaxies: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's galaxy as `(N,)` places 0..G-1, and the galaxies' classes `(G,)`."""
    names = np.asarray(galaxies)
    if names.shape != truth.shape:
        raise ValueError(f"galaxies {names.shape} and labels {truth.shape}, expected (N,) each")
    _, first, members = np.unique(names, return_index=True, return_inverse=True)
    classes = truth[first].astype(np.int64)
    mixed = np.flatnonzero(classes[members] != truth)
    if len(mixed):
        raise ValueError(f"galaxy {names[mixed[0]]} has images of both labels, expected one label a galaxy")
    return members, classes


def _draw_galaxies(rng: np.random.Generator, classes: np.ndarray, count: int) -> Floats:
    """Draw how often each galaxy counts in each replicate, `(count, G)`, as many of a class as there are."""
    drawn = np.empty((count, len(classes)))
    for each in np.unique(classes):
        places = np.flatnonzero(classes == each)
        drawn[:, places] = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=count)
    return drawn


def _interval(value: float, replicates: Floats) -> Interval:
    defined = replicates[np.isfinite(replicates)]
    if not np.isfinite(value) or not len(defined):
        return Interval(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _reflected(interval: Interval) -> Interval:
    value = interval["value"]
    low, high = 2 * value - interval["high"], 2 * value - interval["low"]
    return Interval(value=value, low=min(max(low, 0.0), value), high=max(high, value))
