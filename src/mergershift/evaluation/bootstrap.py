"""Intervals by resampling galaxies, and seeds where a network was trained several times."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import THRESHOLD, Floats, check_predictions, score, weighted_scores
from mergershift.evaluation.resampling import (
    RESAMPLES,
    Interval,
    draws,
    galaxy_members,
    one_galaxy_only,
    percentile_interval,
)


def bootstrap(
    labels: ArrayLike,
    probabilities: ArrayLike,
    galaxies: ArrayLike,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
    threshold: ArrayLike = THRESHOLD,
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
        threshold: an image is called a merger where its probability is at least this; one for all or, `(S,)`,
            one per seed.

    Raises ValueError on unfit shapes, labels or probabilities, and on a galaxy with both labels.
    """
    by_seed = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    if by_seed.ndim != 2 or not len(by_seed):
        raise ValueError(f"probabilities of shape {by_seed.shape}, expected (N,) or (S, N)")
    thresholds = np.asarray(threshold, dtype=np.float64)
    if thresholds.shape not in ((), (len(by_seed),)):
        raise ValueError(f"threshold of shape {thresholds.shape}, expected () or ({len(by_seed)},)")
    trainings = list(zip(by_seed, np.broadcast_to(thresholds, len(by_seed)).tolist(), strict=True))
    truth = check_predictions(labels, by_seed[0])[0]
    members, classes = galaxy_members(truth, galaxies)
    points = [score(truth, each, at) for each, at in trainings]
    values = {name: float(np.mean([point[name] for point in points])) for name in points[0]}
    if one_galaxy_only(classes):
        return {name: Interval(value=value, low=np.nan, high=np.nan) for name, value in values.items()}

    replicates: dict[str, list[Floats]] = {name: [] for name in values}
    for galaxy_weights, drawn in draws(classes, len(by_seed), len(truth), resamples, rng_seed):
        weights = galaxy_weights[:, members]
        scores = [weighted_scores(truth, each, weights, at) for each, at in trainings]
        for name, parts in replicates.items():
            each_seed = np.stack([of_seed[name] for of_seed in scores], axis=1)
            parts.append(np.take_along_axis(each_seed, drawn, axis=1).mean(axis=1))
    intervals = {
        name: percentile_interval(values[name], np.concatenate(parts)) for name, parts in replicates.items()
    }
    return intervals | {"ece": _reflected(intervals["ece"])}


def _reflected(interval: Interval) -> Interval:
    value = interval["value"]
    low, high = 2 * value - interval["high"], 2 * value - interval["low"]
    return Interval(value=value, low=min(max(low, 0.0), value), high=max(high, value))
