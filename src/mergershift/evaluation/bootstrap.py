"""Intervals from resampling galaxies, and seeds if a network was trained several times."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import (
    THRESHOLD,
    Floats,
    check_predictions,
    galaxy_weighted_scores,
    score,
)
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

    All images of a galaxy are drawn together, because they are not independent: resampling images would treat
    cameras and flipped copies as independent evidence. Galaxies are drawn within their class, because the sizes of
    the classes were fixed by the authors of the archive and the stratified split, not by chance.

    With several seeds, the value is the mean of the seeds' metrics, and each replicate also draws seeds. With two
    or three seeds, this underestimates the variation between trainings.

    The calibration error is biased upwards by the noise in its bins, so its replicates tend to exceed the value.
    Its interval is therefore reflected (value + value - quantile), cut at 0 and extended to contain the value. Even
    so, if a classifier is calibrated better than the noise, the interval stays above its true error.

    Replicates in which a metric is undefined are excluded from its interval. The bounds are NaN if a class has a
    single galaxy, from which the variation between galaxies cannot be estimated.

    Args:
        labels: 1 for a merger, 0 for a non-merger, `(N,)`.
        probabilities: probability of a merger, `(N,)` for one training or `(S, N)` for S seeds.
        galaxies: number of the galaxy that an image shows, `(N,)`.
        resamples: number of replicates.
        rng_seed: seed of the resampling; the same seed gives the same intervals.
        threshold: lowest probability at which an image is classified as a merger, either one for all seeds or one
            per seed `(S,)`.

    Raises ValueError if shapes, labels or probabilities are not valid, or if a galaxy has both labels.
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
    by_training = [score(truth, chance, at) for chance, at in trainings]
    values = {name: float(np.mean([own[name] for own in by_training])) for name in by_training[0]}
    if one_galaxy_only(classes):
        return {name: Interval(value=value, low=np.nan, high=np.nan) for name, value in values.items()}

    replicates: dict[str, list[Floats]] = {name: [] for name in values}
    for galaxy_weights, drawn in draws(classes, len(by_seed), len(truth), resamples, rng_seed):
        scores = [
            galaxy_weighted_scores(truth, chance, members, galaxy_weights, at) for chance, at in trainings
        ]
        for name, parts in replicates.items():
            per_seed = np.stack([of_seed[name] for of_seed in scores], axis=1)
            parts.append(np.take_along_axis(per_seed, drawn, axis=1).mean(axis=1))
    intervals = {
        name: percentile_interval(values[name], np.concatenate(parts)) for name, parts in replicates.items()
    }
    return intervals | {"ece": _reflected(intervals["ece"])}


def _reflected(interval: Interval) -> Interval:
    value = interval["value"]
    low, high = 2 * value - interval["high"], 2 * value - interval["low"]
    return Interval(value=value, low=min(max(low, 0.0), value), high=max(high, value))
