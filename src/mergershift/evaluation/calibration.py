"""Calibration of probabilities by a single temperature, fitted on labelled validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit

from mergershift.evaluation.metrics import Floats, check_predictions

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of the search; without them, images that are all classified correctly would drive the temperature to 0."""


def best_temperature(labels: ArrayLike, log_odds: ArrayLike, *, balanced: bool) -> float:
    """Return the temperature T at which sigmoid(log odds / T) has the smallest cross-entropy.

    This is temperature scaling (Guo et al. 2017, arXiv:1706.04599, eq. 9) for two classes. Because all images share
    one temperature, neither their ranking nor their classification at odds of one changes.

    Args:
        labels: 1 for a merger, 0 for a non-merger, `(N,)`.
        log_odds: logit of a merger minus that of a non-merger, `(N,)`.
        balanced: whether both classes have the same weight; the probabilities then apply to a population in which
            mergers and non-mergers are equally frequent, as in a training with such class weights.

    Returns a number from `LOWEST` to `HIGHEST`; `HIGHEST` if the log odds are uninformative or wrong.
    Raises ValueError if shapes or labels are not valid, a class is missing or the log odds are not finite.
    """
    from scipy.optimize import minimize_scalar  # slow to import, and needed only when a model is registered

    odds = np.asarray(log_odds, dtype=np.float64)
    truth = check_predictions(labels, expit(odds))[0]
    if not np.isfinite(odds).all():
        raise ValueError("log odds are NaN or infinite, expected finite numbers: the network has diverged")
    if truth.all() or not truth.any():
        raise ValueError(f"{truth.sum()} of {len(truth)} images are mergers, expected images of both classes")
    weights = np.where(truth, 1 / truth.mean(), 1 / (1 - truth.mean())) if balanced else np.ones(len(truth))
    margins = np.where(truth, odds, -odds)

    def risk(log_temperature: float) -> float:
        return -float(np.average(log_expit(margins / np.exp(log_temperature)), weights=weights))

    # The risk is convex in 1 / T and therefore has a single minimum in log T as well.
    bounds = (np.log(LOWEST), np.log(HIGHEST))
    found = minimize_scalar(risk, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    ends: list[float] = [*bounds, float(found.x)]
    return float(np.exp(min(ends, key=risk)))


def negative_log_likelihood(
    labels: ArrayLike, log_odds: ArrayLike, temperature: float, *, balanced: bool
) -> float:
    """Return the mean cross-entropy at a temperature; the arguments are those of `best_temperature`."""
    odds: Floats = np.asarray(log_odds, dtype=np.float64) / temperature
    truth = check_predictions(labels, expit(odds))[0]
    losses = -log_expit(np.where(truth, odds, -odds))
    if balanced:
        return float((losses[truth].mean() + losses[~truth].mean()) / 2)
    return float(losses.mean())
