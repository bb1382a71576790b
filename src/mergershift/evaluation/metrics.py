"""Metrics of predicted probabilities, for any number of weightings of the same images at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "brier", "auc", "ece")
COUNTS = ("tn", "fp", "fn", "tp")
THRESHOLD = 0.5
"""Default for the lowest probability at which an image is classified as a merger."""
CALIBRATION_BINS = 15
"""Number of bins of equal width in the expected calibration error."""


def score(labels: ArrayLike, probabilities: ArrayLike, threshold: float = THRESHOLD) -> dict[str, float]:
    """Compute every metric (`METRICS`) and the confusion counts (`COUNTS`) of one set of predictions.

    Args:
        labels: 1 for a merger, 0 for a non-merger, `(N,)`.
        probabilities: probability of a merger, `(N,)`.
        threshold: lowest probability at which an image is classified as a merger.

    Raises ValueError as `weighted_scores` does.
    """
    ones = np.ones((1, np.size(probabilities)))
    return {
        name: float(values[0])
        for name, values in weighted_scores(labels, probabilities, ones, threshold).items()
    }


def calibration_bins(probabilities: Floats) -> NDArray[np.int64]:
    """Return the bin of each probability in the expected calibration error, from 0 to `CALIBRATION_BINS` - 1."""
    return np.minimum((probabilities * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def weighted_scores(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike, threshold: float = THRESHOLD
) -> dict[str, Floats]:
    """Compute every metric and the confusion counts, each `(R,)`, under R weightings of the N images.

    A metric is NaN where it is undefined: AUC and balanced accuracy unless both classes have a positive weight,
    precision without a predicted merger, recall without a true one, and everything except the counts if all weights
    are 0. The expected calibration error is that of the merger probability (not that of the predicted class): the
    weighted mean of |share of mergers - mean probability| over 15 bins of equal width (Naeini et al. 2015,
    AAAI 29:2901). In the AUC, ties count one half.

    Args:
        labels: 1 for a merger, 0 for a non-merger, `(N,)`.
        probabilities: probability of a merger, `(N,)`.
        weights: weights of the images `(R, N)`, not negative.
        threshold: lowest probability at which an image is classified as a merger.

    Raises ValueError if the shapes do not match, if there is no image, if a label is neither 0 nor 1, or if a
    probability is not a number from 0 to 1.
    """
    truth, chance = check_predictions(labels, probabilities)
    weighting = np.asarray(weights, dtype=np.float64)
    if weighting.ndim != 2 or weighting.shape[1] != len(truth):
        raise ValueError(f"weights of shape {weighting.shape}, expected (R, {len(truth)})")
    scores = _scores(weighting @ _terms(truth, chance, threshold))
    area = _auc(truth, chance, weighting)
    return {name: area if name == "auc" else scores[name] for name in (*METRICS, *COUNTS)}


def galaxy_weighted_scores(
    truth: NDArray[np.bool_],
    chance: Floats,
    members: NDArray[np.intp],
    weights: Floats,
    threshold: float = THRESHOLD,
) -> dict[str, Floats]:
    """Compute what `weighted_scores` does, each `(R,)`, under R weightings of G galaxies; all but the AUC.

    Everything is first summed over the images of a galaxy, so that the cost of a weighting does not depend on their
    number.

    Args:
        truth: whether the image is one of a merger, `(N,)`; the same for all images of a galaxy.
        chance: probability of a merger, `(N,)`.
        members: galaxy of each image, from 0 to G - 1, `(N,)`.
        weights: weights of the galaxies `(R, G)`, not negative; each image has that of its galaxy.
        threshold: lowest probability at which an image is classified as a merger.
    """
    size = weights.shape[1]
    terms = _terms(truth, chance, threshold)
    sums = np.stack([np.bincount(members, term, size) for term in terms.T], axis=1)
    return _scores(weights @ sums)


def _terms(truth: NDArray[np.bool_], chance: Floats, threshold: float) -> Floats:
    """Return what each image adds to the sums `(N, 5 + CALIBRATION_BINS)` that all metrics but the AUC depend on."""
    called = chance >= threshold
    cells = np.stack([~truth & ~called, ~truth & called, truth & ~called, truth & called], axis=1)
    residual = truth - chance
    by_bin = np.where(
        calibration_bins(chance)[:, None] == np.arange(CALIBRATION_BINS), residual[:, None], 0.0
    )
    return np.concatenate([cells, residual[:, None] ** 2, by_bin], axis=1)


def _scores(sums: Floats) -> dict[str, Floats]:
    """Compute every metric but the AUC from the weighted sums `(R, 5 + CALIBRATION_BINS)` of `_terms`."""
    tn, fp, fn, tp = sums[:, :4].T
    total = tn + fp + fn + tp
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    return {
        "accuracy": _ratio(tp + tn, total),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "brier": _ratio(sums[:, 4], total),
        "ece": _ratio(np.abs(sums[:, 5:]).sum(axis=1), total),
        "tn": tn,
        "fp": fp,
        "fn": fn,
        "tp": tp,
    }


def check_predictions(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    """Return labels `(N,)` as booleans and probabilities `(N,)` as float64; raises ValueError on invalid values."""
    truth, chance = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != chance.shape or not len(truth):
        raise ValueError(f"labels {truth.shape} and probabilities {chance.shape}, expected (N,) each, N > 0")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError(f"labels are {np.unique(truth)[:5]}, expected 0 and 1")
    wrong = np.flatnonzero(~((chance >= 0) & (chance <= 1)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(chance)} probabilities are not numbers from 0 to 1, "
            f"the first is {chance[wrong[0]]} at index {wrong[0]}"
        )
    return truth.astype(bool), chance


def _auc(truth: NDArray[np.bool_], chance: Floats, weights: Floats) -> Floats:
    """Return the weighted fraction `(R,)` of (merger, non-merger) pairs in the right order; ties count one half."""
    order = np.argsort(chance, kind="stable")
    ranked, mergers = chance[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    ones, zeros = weights[:, order] * mergers, weights[:, order] * ~mergers
    if len(starts) < len(ranked):
        ones, zeros = (np.add.reduceat(weighted, starts, axis=1) for weighted in (ones, zeros))
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return _ratio((ones * below).sum(axis=1), ones.sum(axis=1) * zeros.sum(axis=1))


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
