"""Intervals of scores from 0 to 1 that hold up to the end of that range, where resampling gives none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mergershift.evaluation.estimates import area_under_curve, class_shares
from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.resampling import LEVEL, Interval

FEWEST_MISPLACED = 10
"""Number of galaxies of a class with an image on the wrong side of one of the other class, from which the scatter of
an area under the ROC curve is known well enough."""


def share_interval(
    correct: Floats, images: Floats, classes: NDArray[np.int64], weights: tuple[float, float]
) -> Interval:
    """Return a weighted sum of the shares of correct images of both classes with its 95 % interval over galaxies.

    The arguments are those of `class_shares`. Each class has the interval of Wilson (1927, J. Am. Stat. Assoc. 22:209)
    at the number of independent images that would give the scatter between its galaxies (Korn & Graubard 1998, Surv.
    Methodol. 24:193); it is the number of galaxies where all images are right or all are wrong, which shows no scatter.
    The distances to the bounds of both classes are added in quadrature (Newcombe 1998, Stat. Med. 17:873).

    Everything is NaN if a class with a weight has no galaxy.
    """
    value, below, above = 0.0, 0.0, 0.0
    if any(weight and not (classes == label).any() for label, weight in enumerate(weights)):
        return Interval(value=np.nan, low=np.nan, high=np.nan)
    for label, weight in enumerate(weights):
        if not weight:
            continue
        own = class_shares(correct, images, classes, (1.0 - label, float(label)))
        galaxies, most = int((classes == label).sum()), images[classes == label].sum() * len(correct)
        share, variance = own.value, float(own.covariances(own)[label])
        low, high = _wilson(share, variance, galaxies, most, galaxies - 1)
        value += weight * share
        below += (weight * (share - low)) ** 2
        above += (weight * (high - share)) ** 2
    return Interval(value=value, low=value - float(np.sqrt(below)), high=value + float(np.sqrt(above)))


def area_interval(
    probabilities: Floats, truth: NDArray[np.bool_], members: NDArray[np.intp], classes: NDArray[np.int64]
) -> Interval:
    """Return the area under the ROC curve with its 95 % interval over galaxies.

    The arguments are those of `area_under_curve`. The interval is that of Wilson for a share, at the number of images
    that would give the area's standard error. That error is not to be relied on where hardly any galaxy is misplaced:
    with fewer than `FEWEST_MISPLACED` in a class, the number is at most that of a curve near (0, 1), twice the number
    of galaxies of the smaller class. Everything is NaN if a class has no galaxy.
    """
    if truth.all() or not truth.any():
        return Interval(value=np.nan, low=np.nan, high=np.nan)
    area = area_under_curve(probabilities, truth, members, classes)
    galaxies, misplaced = np.bincount(classes, minlength=2), np.zeros(len(classes), dtype=bool)
    for chance in probabilities:
        wrong = np.where(truth, chance <= chance[~truth].max(), chance >= chance[truth].min())
        misplaced[members[wrong]] = True
    few = np.bincount(classes[misplaced], minlength=2).min() < FEWEST_MISPLACED
    most = 2.0 * galaxies.min() if few else np.inf
    variance = float(area.covariances(area)[:2].sum())
    low, high = _wilson(area.value, variance, int(galaxies.min()), most, area.freedom)
    return Interval(value=area.value, low=low, high=high)


def with_seeds(interval: Interval, by_seed: Floats, galaxies: int, highest: float) -> Interval:
    """Widen an interval over galaxies by the scatter between trainings, as `Estimate.interval` does.

    Each bound's distance and the seeds' standard error are added in quadrature. The number of standard errors is that
    of the t distribution with the degrees of freedom of Welch and Satterthwaite, of which S seeds alone have S - 1.

    Args:
        interval: the mean over the seeds with its 95 % interval over galaxies.
        by_seed: value `(S,)` of each seed; nothing is widened for a single one.
        galaxies: number of galaxies.
        highest: largest possible value; the bounds are cut at 0 and there.
    """
    seeds, value = len(by_seed), interval["value"]
    if seeds < 2:
        return interval
    of_galaxies = stdtrit(max(galaxies - 2, 1), (1 + LEVEL) / 2)
    first = ((interval["high"] - interval["low"]) / 2 / of_galaxies) ** 2
    second = float(np.var(by_seed, ddof=1)) / seeds
    if not second > 0:
        return interval
    freedom = (first + second) ** 2 / (first**2 / max(galaxies - 2, 1) + second**2 / (seeds - 1))
    factor = stdtrit(freedom, (1 + LEVEL) / 2)
    below, above = (
        factor * float(np.sqrt((distance / of_galaxies) ** 2 + second))
        for distance in (value - interval["low"], interval["high"] - value)
    )
    return Interval(value=value, low=max(value - below, 0.0), high=min(value + above, highest))


def _wilson(share: float, variance: float, fewest: int, most: float, freedom: float) -> tuple[float, float]:
    count = min(share * (1 - share) / variance, most) if variance > 0 else float(fewest)
    squared = stdtrit(freedom, (1 + LEVEL) / 2) ** 2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = np.sqrt(squared * (share * (1 - share) / count + squared / (4 * count**2))) / (1 + squared / count)
    return float(max(min(middle - half, share), 0.0)), float(min(max(middle + half, share), 1.0))
