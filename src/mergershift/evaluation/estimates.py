"""Estimates with all of their scatter, between galaxies and between seeds, and the intervals and tests that follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.resampling import LEVEL, Interval


@dataclass(frozen=True, eq=False)
class Estimate:
    """A quantity as the mean over S trainings, and how it depends on the G galaxies that it was measured on.

    Estimates from the same galaxies and seeds can be subtracted and scaled, which keeps them paired.
    """

    by_seed: Floats
    """Its value `(S,)` for each seed."""
    by_galaxy: Floats
    """Contribution of each galaxy `(G,)` to the mean over the seeds, minus the mean contribution in its class."""
    classes: NDArray[np.int64]
    """Class of each galaxy `(G,)`."""
    least: Floats
    """Smallest credible standard error `(2,)` due to the galaxies of each class: that of one galaxy's full change.

    Without it, two methods that differ in hardly any galaxy would seem to have no scatter."""

    def __sub__(self, other: Estimate) -> Estimate:
        """Return the paired difference."""
        return Estimate(
            self.by_seed - other.by_seed,
            self.by_galaxy - other.by_galaxy,
            self.classes,
            np.maximum(self.least, other.least),
        )

    def __mul__(self, factor: float) -> Estimate:
        """Return a multiple."""
        return Estimate(
            self.by_seed * factor, self.by_galaxy * factor, self.classes, self.least * abs(factor)
        )

    @property
    def value(self) -> float:
        """Mean over the seeds."""
        return float(self.by_seed.mean())

    def covariances(self, other: Estimate) -> Floats:
        """Return the covariance of the two means: due to the galaxies of class 0, of class 1, and to seeds `(3,)`.

        The last is 0 for a single seed, from which the scatter between trainings cannot be known. A class with a
        single galaxy gives NaN.
        """
        parts = []
        for label in (0, 1):
            of_class = self.classes == label
            count = int(of_class.sum())
            products = float(self.by_galaxy[of_class] @ other.by_galaxy[of_class])
            parts.append(products * count / (count - 1) if count > 1 else np.nan)
        seeds = len(self.by_seed)
        deviations = [estimate.by_seed - estimate.by_seed.mean() for estimate in (self, other)]
        parts.append(float(deviations[0] @ deviations[1]) / (seeds * (seeds - 1)) if seeds > 1 else 0.0)
        return np.array(parts)

    @property
    def variances(self) -> Floats:
        """Variance of the mean due to the galaxies of class 0, of class 1, and to seeds `(3,)`."""
        found = self.covariances(self)
        found[:2] = np.maximum(found[:2], self.least**2)
        return found

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.variances.sum()))

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error.

        By Welch (1947, Biometrika 34:28) and Satterthwaite (1946, Biometrics Bull. 2:110): (sum of v)² / sum of
        (v² / n), where the variance v of a class of G galaxies has n = G - 1, and that of S seeds n = S - 1.
        """
        variances = self.variances
        counts = np.r_[np.bincount(self.classes, minlength=2), len(self.by_seed)] - 1
        shares = variances**2 / np.maximum(counts, 1)
        total = float(shares.sum())
        return float(variances.sum() ** 2) / total if total > 0 else float(counts[:2].sum())

    @property
    def quantile(self) -> float:
        """Number of standard errors from the value to either bound of its interval."""
        return float(stdtrit(self.freedom, (1 + LEVEL) / 2))

    @property
    def interval(self) -> Interval:
        """The value with its 95 % interval; the bounds are NaN if a class has a single galaxy."""
        half = self.quantile * self.standard_error
        return Interval(value=self.value, low=self.value - half, high=self.value + half)

    @property
    def p(self) -> float:
        """Two-sided p-value of the hypothesis that the true value is 0.

        It is below 5 % exactly where the interval excludes 0. NaN if a class has a single galaxy.
        """
        error = self.standard_error
        if error == 0:
            return float(self.value == 0)
        return float(2 * stdtr(self.freedom, -abs(self.value) / error))


def ratio(above: Estimate, below: Estimate) -> Interval:
    """Return the ratio of two paired estimates with its 95 % interval, of Fieller (1954, J. R. Stat. Soc. B 16:175).

    The interval holds the ratios r for which above - r below does not differ from 0; so it excludes 0 exactly where the
    interval of `above` does. Everything is NaN unless `below` is positive and its own interval excludes 0, since the
    interval is unbounded otherwise.
    """
    if not (below.value > 0 and below.interval["low"] > 0):
        return Interval(value=np.nan, low=np.nan, high=np.nan)
    value = above.value / below.value
    products = [one.covariances(other) for one, other in ((above, above), (above, below), (below, below))]
    counts = np.r_[np.bincount(above.classes, minlength=2), len(above.by_seed)] - 1

    def differs(at: float) -> bool:
        variances = products[0] - 2 * at * products[1] + at**2 * products[2]
        variances[:2] = np.maximum(variances[:2], np.maximum(above.least, abs(at) * below.least) ** 2)
        freedom = variances.sum() ** 2 / (variances**2 / np.maximum(counts, 1)).sum()
        half = stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variances.sum())
        return bool(abs(above.value - at * below.value) > half)

    return Interval(value=value, low=_edge(differs, value, -1.0), high=_edge(differs, value, 1.0))


def _edge(differs: Callable[[float], bool], value: float, step: float) -> float:
    """Return the end of the range around `value` in which nothing differs, in the direction of `step`."""
    for _ in range(60):
        if differs(value + step):
            break
        step *= 2
    else:
        return float(np.nan)
    inside, outside = value, value + step
    for _ in range(50):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if differs(middle) else (middle, outside)
    return inside


def class_shares(
    correct: Floats, images: Floats, classes: NDArray[np.int64], weights: tuple[float, float]
) -> Estimate:
    """Estimate a weighted sum of the shares of non-mergers and mergers that are classified correctly.

    Weights of one half give the balanced accuracy, (0, 1) the recall, (1, 0) the specificity.

    Args:
        correct: number of correctly classified images `(S, G)` of each galaxy, by seed.
        images: number of images `(G,)` of each galaxy.
        classes: class of each galaxy `(G,)`.
        weights: weights of the shares of class 0 and class 1.
    """
    by_seed, by_galaxy = np.zeros(len(correct)), np.zeros(len(classes))
    for label, weight in enumerate(weights):
        if not weight:
            continue
        of_class = classes == label
        total = images[of_class].sum()
        shares = correct[:, of_class].sum(axis=1) / total
        by_seed += weight * shares
        mean = correct[:, of_class].mean(axis=0) - shares.mean() * images[of_class]
        by_galaxy[of_class] = weight * mean / total
    return Estimate(by_seed, by_galaxy, classes, np.array(weights) / _counts(classes))


def area_under_curve(
    probabilities: Floats, truth: NDArray[np.bool_], members: NDArray[np.intp], classes: NDArray[np.int64]
) -> Estimate:
    """Estimate the area under the ROC curve; ties count one half.

    A galaxy contributes by the placement of its images among those of the other class (DeLong et al. 1988, Biometrics
    44:837), summed over its images, which are not independent (Obuchowski 1997, Biometrics 53:567).

    Args:
        probabilities: probability of a merger `(S, N)`, by seed.
        truth: whether the image is one of a merger, `(N,)`.
        members: galaxy of each image, from 0 to G - 1, `(N,)`.
        classes: class of each galaxy `(G,)`.
    """
    areas, placements = [], []
    for chance in probabilities:
        own = np.empty(len(chance))
        for of_class, side in ((truth, 1), (~truth, -1)):
            others = np.sort(chance[~of_class])
            below = np.searchsorted(others, chance[of_class], "left")
            up_to = np.searchsorted(others, chance[of_class], "right")
            share = (below + up_to) / (2 * len(others))
            own[of_class] = share if side > 0 else 1 - share
        areas.append(own[truth].mean())
        placements.append(own)
    mean, value = np.mean(placements, axis=0), float(np.mean(areas))
    number = np.where(truth, truth.sum(), (~truth).sum())
    by_galaxy = np.bincount(members, (mean - value) / number, len(classes)).astype(np.float64)
    return Estimate(np.array(areas), by_galaxy, classes, np.full(2, 1 / _counts(classes).prod()))


def _counts(classes: NDArray[np.int64]) -> Floats:
    return np.maximum(np.bincount(classes, minlength=2), 1).astype(np.float64)
