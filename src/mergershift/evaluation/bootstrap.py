"""Scores with 95 % intervals over galaxies, and over seeds if a network was trained several times."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
from mergershift.evaluation.score_intervals import area_interval, share_interval, with_seeds

RESAMPLED = ("precision", "f1", "brier", "ece")
"""Metrics whose intervals are those of a bootstrap; the others have intervals without one."""


def bootstrap(
    labels: ArrayLike,
    probabilities: ArrayLike,
    galaxies: ArrayLike,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
    threshold: ArrayLike = THRESHOLD,
) -> dict[str, Interval]:
    """Compute every metric with its 95 % interval over galaxies and, with several trainings, over seeds.

    All images of a galaxy count together, because they are not independent: otherwise cameras and flipped copies would
    pass for independent evidence. Galaxies vary within their class, because the sizes of the classes were fixed by
    the authors of the archive and the stratified split, not by chance.

    Shares of correct images (accuracy, balanced accuracy, recall and the counts) have Wilson's interval by class
    (`share_interval`), and the area under the ROC curve has one like it (`area_interval`), so that a classifier that
    is always right, or always says the same, is not taken for certain. The other metrics have the percentile interval
    of a cluster bootstrap (Efron & Tibshirani 1993), and none where all replicates are equal.

    With several seeds, the value is the mean of the seeds' metrics, and `with_seeds` widens the interval by their
    scatter. With one seed, the interval is that of this training, not of its method.

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

    replicates: dict[str, list[Floats]] = {name: [] for name in RESAMPLED}
    for weights in draws(classes, len(truth), resamples, rng_seed):
        scores = [galaxy_weighted_scores(truth, chance, members, weights, at) for chance, at in trainings]
        for name, parts in replicates.items():
            parts.append(np.mean([of_seed[name] for of_seed in scores], axis=0))
    intervals = {
        name: _if_any(percentile_interval(values[name], np.concatenate(parts)))
        for name, parts in replicates.items()
    }
    intervals["ece"] = _reflected(intervals["ece"])
    intervals |= _of_shares(truth, by_seed, thresholds, members, classes)
    intervals["auc"] = area_interval(by_seed, truth, members, classes)
    most = {"tp": truth.sum(), "fn": truth.sum(), "tn": (~truth).sum(), "fp": (~truth).sum()}
    return {
        name: with_seeds(
            _around(value, intervals[name]),
            np.array([own[name] for own in by_training]),
            len(classes),
            float(most.get(name, 1)),
        )
        for name, value in values.items()
    }


def _of_shares(
    truth: NDArray[np.bool_],
    by_seed: Floats,
    thresholds: Floats,
    members: NDArray[np.intp],
    classes: NDArray[np.int64],
) -> dict[str, Interval]:
    """Intervals over galaxies of what the shares of correct images in both classes determine."""
    right = (by_seed >= thresholds.reshape(-1, 1)) == truth
    correct = np.stack([np.bincount(members, own, len(classes)).astype(np.float64) for own in right])
    images = np.bincount(members, minlength=len(classes)).astype(np.float64)
    mergers = int(truth.sum())
    share = mergers / len(truth)
    of_others, of_mergers, both, all_images = (
        share_interval(correct, images, classes, weights)
        for weights in ((1, 0), (0, 1), (0.5, 0.5), (1 - share, share))
    )
    found = {"recall": of_mergers, "balanced_accuracy": both, "accuracy": all_images}
    for count, (right_name, wrong_name), own in (
        (mergers, ("tp", "fn"), of_mergers),
        (len(truth) - mergers, ("tn", "fp"), of_others),
    ):
        value, low, high = (count * own[name] for name in ("value", "low", "high"))
        found[right_name] = Interval(value=value, low=low, high=high)
        found[wrong_name] = Interval(value=count - value, low=count - high, high=count - low)
    return found


def _around(value: float, interval: Interval) -> Interval:
    """Return the interval with this value, from which its own differs by rounding errors only."""
    return Interval(value=value, low=min(interval["low"], value), high=max(interval["high"], value))


def _if_any(interval: Interval) -> Interval:
    """Return the interval without its bounds if it has no width, since equal replicates show no scatter at all."""
    if interval["high"] - interval["low"] > 1e-12:  # more than rounding errors
        return interval
    return Interval(value=interval["value"], low=np.nan, high=np.nan)


def _reflected(interval: Interval) -> Interval:
    value = interval["value"]
    low, high = 2 * value - interval["high"], 2 * value - interval["low"]
    return Interval(value=value, low=min(max(low, 0.0), value), high=max(high, value))
