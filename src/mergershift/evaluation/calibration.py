"""Probabilities that mean what they say: one temperature, fitted on labelled validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from mergershift.evaluation.metrics import Floats, check_predictions

LOWEST, HIGHEST = 0.05, 20.0
"""Where the search ends: images that are all rightly classed would be fitted ever better by ever lower ones."""


def best_temperature(labels: ArrayLike, log_odds: ArrayLike, *, balanced: bool) -> float:
    """Return the temperature T under which sigmoid(log odds / T) has the least cross-entropy.

    Guo et al. 2017 (arXiv:1706.04599, eq. 9, for two classes). One number for all images, so neither the order of
    the images nor what is called a merger at odds of one changes.

    Args:
        labels: `(N,)` 1 for a merger, 0 for a non-merger.
        log_odds: `(N,)` logit of a merger minus that of a non-merger.
        balanced: whether both classes count the same; the probabilities are then those where mergers and
            non-mergers are equally frequent, as a training with such weights means them.

    Returns a number from `LOWEST` to `HIGHEST`; `HIGHEST` where the log odds say nothing or the wrong.
    Raises ValueError on unfit shapes and labels, a class that is missing, and log odds that are not finite.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and only a registration fits a temperature

    odds = np.asarray(log_odds, dtype=np.float64)
    truth = check_predictions(labels, expit(odds))[0]
    if not np.isfinite(odds).all():
        raise ValueError("log odds are not finite: the network has diverged")
    if truth.all() or not truth.any():
        raise ValueError(f"{truth.sum()} mergers of {len(truth)} images, expected some of each class")
    weights = np.where(truth, 1 / truth.mean(), 1 / (1 - truth.mean())) if balanced else np.ones(len(truth))
    margins = np.where(truth, odds, -odds)

    def risk(log_temperature: float) -> float:
        return -float(np.average(log_expit(margins / np.exp(log_temperature)), weights=weights))

    # The risk is convex in 1 / T and so has one minimum in log T as well.
    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(risk, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    ends: list[float] = [*bounds, float(found.x)]
    return float(np.exp(min(ends, key=risk)))


def negative_log_likelihood(
    labels: ArrayLike, log_odds: ArrayLike, temperature: float, *, balanced: bool
) -> float:
    """Return the mean cross-entropy at a temperature; arguments as in `best_temperature`."""
    odds: Floats = np.asarray(log_odds, dtype=np.float64) / temperature
    truth = check_predictions(labels, expit(odds))[0]
    losses = -log_expit(np.where(truth, odds, -odds))
    if balanced:
        return float((losses[truth].mean() + losses[~truth].mean()) / 2)
    return float(losses.mean())
