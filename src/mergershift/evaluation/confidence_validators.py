"""Validators from recent comparisons that judge how sure, spread out and clustered a candidate's outputs are."""

from __future__ import annotations

import numpy as np

from mergershift.evaluation.evidence import Evidence, entropies, log_softmax
from mergershift.evaluation.metrics import Floats

NORM = 4
"""Published order of the norm in `matrix_norm`."""
MANY_CLASSES = 5.0
"""Published threshold in `matrix_norm`, above which logits are normalised by the softmax."""


def nuclear_norm(evidence: Evidence) -> float:
    """Return the nuclear norm of the prediction matrix `(M, K)`, divided by its largest value sqrt(M min(M, K)).

    It is high for predictions that are confident and spread over the classes (Cui et al. 2020, arXiv:2003.12237, as a
    loss; Deng et al. 2023, arXiv:2302.01094, as an estimate of accuracy; among the validators of Musgrave et al. 2022,
    arXiv:2208.07360, as BNM). Known weakness: it is largest for equally frequent classes.
    """
    predictions = np.exp(log_softmax(evidence.target_logits))
    if not np.isfinite(predictions).all():
        return float("nan")
    largest = np.sqrt(len(predictions) * min(predictions.shape))
    return float(np.linalg.norm(predictions, ord="nuc") / largest)


def matrix_norm(evidence: Evidence) -> float:
    """Return MaNo, the normalised 4-norm of the target's normalised logits (Xie et al. 2024, arXiv:2405.18979).

    If the mean cross-entropy between equal probabilities and the predictions is above 5, logits are normalised by the
    softmax, else by its second-order expansion 1 + q + q²/2, which is positive (eq. 6 of the paper). The released code
    subtracts the smallest of these from all, which of two classes leaves (1, 0) whatever the logits: that step is left
    out. In addition, the mean of each image's logits is subtracted first, which no probability depends on. Known
    weaknesses: the score knows no class shares, and with two classes the expansion is flattest for logits of about
    ±1.4, so that surer predictions score less.
    """
    logs = log_softmax(evidence.target_logits)
    if not np.isfinite(logs).all():
        return float("nan")
    logits = logs - logs.mean(axis=1, keepdims=True)
    if -logs.mean() > MANY_CLASSES:
        normalised = np.exp(logs)
    else:
        positive = 1 + logits + np.square(logits) / 2
        normalised = positive / positive.sum(axis=1, keepdims=True)
    return float(np.mean(normalised**NORM) ** (1 / NORM))


def transfer_score(evidence: Evidence) -> float:
    """Return the Hopkins statistic of the target's features plus the information of the predictions over log K.

    These are the terms of the transfer score (Yang et al. 2024, arXiv:2305.18712) for the clustering of the features
    and for information maximisation. Its third one, the angle between the weight vectors of the classifier, is left
    out: a softmax over two classes depends only on the difference of the two vectors, whatever the angle between
    them. The Hopkins statistic is sum(u) / (sum(u) + sum(w)), with the distances w of the images to their nearest
    neighbours, here of all rather than of a sample, and u of as many random points in the range of the features to the
    nearest image: about 0.5 without clusters, and up to 1 with. The points have a fixed seed.
    """
    logs = log_softmax(evidence.target_logits)
    features = np.asarray(evidence.target_features, dtype=np.float64)
    if not (np.isfinite(logs).all() and np.isfinite(features).all()):
        return float("nan")
    mean = np.log(np.maximum(np.exp(logs).mean(axis=0), np.finfo(float).tiny))
    information = entropies(mean) - np.mean(entropies(logs))
    return float(_hopkins(features) + information / np.log(logs.shape[1]))


def _hopkins(features: Floats) -> float:
    """Return the Hopkins statistic of features `(M, F)`, 0.5 if all are equal or there is only one."""
    low, high = features.min(axis=0), features.max(axis=0)
    if len(features) < 2 or not (high > low).any():
        return 0.5
    points = np.random.default_rng(0).uniform(low, high, size=features.shape)
    within = _squared_distances(features, features)
    np.fill_diagonal(within, np.inf)
    of_points, of_images = (
        np.sqrt(squares.min(axis=1)).sum() for squares in (_squared_distances(points, features), within)
    )
    return float(of_points / (of_points + of_images))


def _squared_distances(first: Floats, second: Floats) -> Floats:
    """Return the squared distances `(A, B)` between the rows `(A, F)` and `(B, F)`."""
    lengths = [np.square(rows).sum(axis=1) for rows in (first, second)]
    squares: Floats = lengths[0][:, None] + lengths[1][None, :] - 2 * first @ second.T
    return np.maximum(squares, 0.0)
