"""Comparison of the channels of images with the published facts and with other images of the same galaxies.

Each function narrows down the possible orders of the filters; `Order` lists the filters that the channels show.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import DataSet, Domain
from mergershift.archive.noise import corner_steps, noise_of

Order = tuple[str, ...]
"""Names of the filters that the channels of a file show."""

SYSTEMATIC = 0.05
"""Relative deviation from a published value that needs no explanation, for instance by another choice of rows."""
DECISIVE = 10.0
"""Smallest difference in chi square between two orders that rules out the worse one."""
WORST_FIT = 4.0
"""Largest chi square per value with which an order explains the statistics; if none does, they decide nothing."""
SIGNIFICANT = 5.0
"""Standard errors by which an order has to be better than another when images are compared."""
RESAMPLES = 100
FEWEST_IMAGES = 10
"""Fewest images that decide anything."""


def showing(
    theirs: NDArray[np.float64], shown: Order, ours: NDArray[np.float64], candidates: list[Order]
) -> list[Order]:
    """Keep the orders in which the channels show the same images as those of other ones, row by row.

    Args:
        theirs: Images `(N, K, H, W)` of the same rows that show the filters `shown`.
        shown: Filters of the K channels.
        ours: Images `(N, C, H, W)` whose order is unknown.
        candidates: Possible orders of the C filters.

    Returns the orders that are possible, the best one first; all of them if the rows show other galaxies.
    """
    # The product of two standardised images is their correlation.
    known, unknown = _standardised(theirs), _standardised(ours)
    alike = np.einsum("nkp,ncp->nkc", known, unknown)
    elsewhere = np.einsum("nkp,ncp->nkc", np.roll(known, len(known) // 2, axis=0), unknown)

    def scores(correlations: NDArray[np.float64], order: Order) -> NDArray[np.float64]:
        places = [order.index(name) for name in shown]
        return np.asarray(correlations[:, np.arange(len(shown)), places].mean(axis=1))

    ranked = sorted(candidates, key=lambda order: -scores(alike, order).mean())
    best = scores(alike, ranked[0])
    if not _significant(best - scores(elsewhere, ranked[0])):
        return candidates
    return [order for order in ranked if not _significant(best - scores(alike, order))]


def same_galaxies(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool | None:
    """Whether images `(N, C, H, W)` of the same filters show the same galaxies in the same rows, noise aside.

    Returns None if too few rows have images that are not constant.
    """
    varied = np.all([np.ptp(images, axis=(2, 3)).any(axis=1) for images in (one, other)], axis=0)
    if np.count_nonzero(varied) < FEWEST_IMAGES:
        return None
    known, unknown = _standardised(one[varied]), _standardised(other[varied])
    elsewhere = np.roll(known, len(known) // 2, axis=0)
    return _significant(((known - elsewhere) * unknown).sum(axis=2).mean(axis=1))


def with_noise(sample: NDArray[np.float64], data_set: DataSet, candidates: list[Order]) -> list[Order]:
    """Keep the orders that explain the noise of noisy images `(N, C, H, W)`; all of them if the images have none."""
    noise = noise_of(corner_steps(sample))
    if data_set.domain is not Domain.NOISY or not (noise > 0).all() or len(sample) < FEWEST_IMAGES:
        return candidates
    expected = {entry.name: np.log([entry.noise_std]) for entry in data_set.filter_set.filters}
    return _explaining(np.log(noise)[None], np.zeros((1, len(noise))), expected, candidates)


def with_brightness(sample: NDArray[np.float64], data_set: DataSet, candidates: list[Order]) -> list[Order]:
    """Keep the orders that explain the means and standard deviations of the channels relative to each other."""
    if len(sample) < FEWEST_IMAGES:
        return candidates
    means, squares = sample.mean(axis=(2, 3)), np.square(sample).mean(axis=(2, 3))
    chosen = np.random.default_rng(0).integers(len(sample), size=(RESAMPLES, len(sample)))
    draws = np.stack([_brightness(means[rows], squares[rows]) for rows in chosen])
    expected = {
        entry.name: np.log([entry.published_mean, entry.published_std[data_set.domain]])
        for entry in data_set.filter_set.filters
    }
    return _explaining(_brightness(means, squares), draws.var(axis=0), expected, candidates)


def _brightness(means: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the logarithms of mean and standard deviation, `(2, C)`, relative to the average over channels."""
    mean = means.mean(axis=0)
    logs = np.log(np.maximum([mean, np.sqrt(np.maximum(squares.mean(axis=0) - mean**2, 0))], 1e-9))
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))


def _explaining(
    found: NDArray[np.float64],
    variances: NDArray[np.float64],
    expected: dict[str, NDArray[np.float64]],
    candidates: list[Order],
) -> list[Order]:
    """Keep the orders that explain values `(K, C)` about as well as the best one, which comes first."""
    centred = found - found.mean(axis=1, keepdims=True)

    def chi_square(order: Order) -> float:
        values = np.stack([expected[name] for name in order], axis=1)
        values = values - values.mean(axis=1, keepdims=True)
        return float(((centred - values) ** 2 / (variances + SYSTEMATIC**2)).sum())

    costs = {order: chi_square(order) for order in candidates}
    best = min(costs.values())
    if best > WORST_FIT * found.size:
        return candidates
    return sorted((order for order in candidates if costs[order] < best + DECISIVE), key=costs.__getitem__)


def _significant(differences: NDArray[np.float64]) -> bool:
    if len(differences) < FEWEST_IMAGES:
        return False
    error = differences.std() / np.sqrt(len(differences))
    return bool(differences.mean() > max(SIGNIFICANT * error, 1e-9))


def _standardised(images: NDArray[np.float64]) -> NDArray[np.float64]:
    flat = images.reshape(*images.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    norms = np.sqrt(np.square(flat).sum(axis=2, keepdims=True))
    return np.asarray(flat / np.where(norms > 0, norms, 1.0))
