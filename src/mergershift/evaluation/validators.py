"""Choosing a model without a label of the target: each validator gives one candidate a score, higher is better.

A candidate that has diverged (a value is not finite) scores NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.evaluation.density_ratios import density_ratios
from mergershift.evaluation.metrics import Floats

TEMPERATURE = 0.05
"""Of the soft neighbourhoods, as published."""
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Evidence:
    """What may be known of one candidate: validation images unless named train, and no label of the target.

    Raises ValueError on shapes that do not fit and on labels that are no class numbers.
    """

    source_features: Floats
    """`(N, F)`"""
    source_logits: Floats
    """`(N, K)`"""
    source_labels: NDArray[np.int64]
    """`(N,)` from 0 to K - 1, of the labelled domain."""
    target_features: Floats
    """`(M, F)`"""
    target_logits: Floats
    """`(M, K)`"""
    source_train_features: Floats | None = None
    """`(A, F)`; only `importance_weighted_risk` asks for the features of training images."""
    target_train_features: Floats | None = None
    """`(B, F)`"""

    def __post_init__(self) -> None:
        """Check the shapes."""
        _check_logits(self.source_logits, self.source_labels)
        width, classes = self.source_features.shape[-1], self.source_logits.shape[1]
        trained = ("source_train_features", "target_train_features")
        seen = {name: getattr(self, name) for name in trained if getattr(self, name) is not None}
        expected = {name: (len(features), width) for name, features in seen.items()}
        expected |= {
            "source_features": (len(self.source_labels), width),
            "target_features": (len(self.target_features), width),
            "target_logits": (len(self.target_features), classes),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape or 0 in shape:
                raise ValueError(
                    f"{name} of shape {found}, expected {shape} beside the others, and not empty"
                )


def source_validation_risk(evidence: Evidence) -> float:
    """Return minus the cross-entropy on the labelled domain's validation images, each class counting alike.

    -1/K sum over classes c of mean over images of c of -log p(c | x). What DeepMerge II chose by, there as
    accuracy (Ćiprijanović et al. 2021, arXiv:2103.01373). It knows nothing of the target.
    """
    return -float(np.mean(_balanced_losses(evidence)))


def target_entropy(evidence: Evidence) -> float:
    """Return minus the mean entropy of the predictions on the target, 1/M sum over i, c of p log p.

    Morerio et al. 2018 (arXiv:1711.10288). Known weakness: whoever calls everything one class, and is sure of
    it, reaches the best score there is, 0.
    """
    return -float(np.mean(_entropies(_log_softmax(evidence.target_logits))))


def information_maximisation(evidence: Evidence) -> float:
    """Return the entropy of the mean prediction on the target minus the mean entropy of the predictions.

    H(1/M sum over i of p_i) - 1/M sum over i of H(p_i), from 0 to log K: sure of each image, undecided over all
    of them (Krause et al. 2010, NeurIPS 23; for adaptation Shi & Sha 2012, arXiv:1206.6438). Whoever calls
    everything one class gets 0. Known weakness: it takes the classes to be equally frequent, and where they
    are not, one who wrongly calls half the images mergers scores higher than one who is always right.
    """
    logs = _log_softmax(evidence.target_logits)
    mean = np.exp(logs).mean(axis=0)
    return float(_entropies(np.log(np.maximum(mean, np.finfo(float).tiny))) - np.mean(_entropies(logs)))


def soft_neighbourhood_density(evidence: Evidence) -> float:
    """Return the mean entropy of each target image's similarities to all others: high in dense neighbourhoods.

    With f_i the softmax output of image i at length 1, P_ij = exp(f_i · f_j / 0.05) / sum over k ≠ i of
    exp(f_i · f_k / 0.05) for j ≠ i; -1/M sum over i, j of P_ij log P_ij (Saito et al. 2021,
    arXiv:2108.10860). The outputs are the classifier's probabilities, as the authors use them for
    classification, not its features. Known weakness: outputs that are all alike are the densest, log(M - 1),
    so whoever calls everything one class scores best.

    Raises ValueError on fewer than two target images.
    """
    outputs = np.exp(_log_softmax(evidence.target_logits))
    if len(outputs) < 2:
        raise ValueError(f"{len(outputs)} target image, expected two or more to be neighbours")
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, len(outputs), _ROWS_AT_ONCE):
        part = outputs[start : start + _ROWS_AT_ONCE]
        similar = part @ outputs.T / TEMPERATURE
        others = np.ones(similar.shape, dtype=bool)
        others[np.arange(len(part)), start + np.arange(len(part))] = False
        total += float(_entropies(_log_softmax(similar[others].reshape(len(part), -1))).sum())
    return total / len(outputs)


def importance_weighted_risk(evidence: Evidence) -> float:
    """Return minus the target's risk as estimated from source images that look like the target's.

    Deep Embedded Validation (You et al. 2019, ICML, PMLR 97:7124): with losses l, density ratios w
    (`density_ratios`) and L = w l, the risk is mean L + eta (mean w - 1), eta = -cov(L, w) / var(w). The losses
    are those of `source_validation_risk`, which it equals where all ratios are the same: each class counts
    alike, if it is as frequent in the target as in the source. Ours: the estimate is kept between the least
    and the largest loss, beyond which no weighted mean lies. Known weakness: where a classifier tells the
    domains apart, few or no source images speak for the target, and the estimate is an extrapolation.
    """
    source_train, target_train = evidence.source_train_features, evidence.target_train_features
    if source_train is None or target_train is None:
        raise ValueError("no features of training images, expected them for importance_weighted_risk")
    losses = _balanced_losses(evidence)
    ratios = density_ratios(source_train, target_train, evidence.source_features)
    if not (np.isfinite(losses).all() and np.isfinite(ratios).all()):
        return float("nan")
    # Rounding alone makes equal ratios differ, and what it makes of eta is noise.
    if np.std(ratios) <= 1e-6 * np.mean(ratios):
        return -float(np.mean(losses))
    covariance = np.cov(ratios * losses, ratios)
    risk = np.mean(ratios * losses) - covariance[0, 1] / covariance[1, 1] * (np.mean(ratios) - 1)
    return -float(np.clip(risk, losses.min(), losses.max()))


VALIDATORS: dict[str, Callable[[Evidence], float]] = {
    each.__name__: each
    for each in (
        source_validation_risk,
        target_entropy,
        information_maximisation,
        soft_neighbourhood_density,
        importance_weighted_risk,
    )
}
"""All that see no label of the target, by name."""


def oracle_target_balanced_accuracy(target_labels: ArrayLike, target_logits: Floats) -> float:
    """Return the balanced accuracy on the target's labels: what no honest choice may see.

    Args:
        target_labels: `(M,)` from 0 to K - 1.
        target_logits: `(M, K)`; the largest decides, the first of equal ones.

    Raises ValueError on shapes that do not fit and on labels that are no class numbers.
    """
    labels = np.asarray(target_labels)
    _check_logits(target_logits, labels)
    if not np.isfinite(target_logits).all():
        return float("nan")
    right = target_logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == each].mean() for each in np.unique(labels)]))


ORACLE = oracle_target_balanced_accuracy.__name__
SOURCE_ACCURACY, DOMAIN_DISTANCE = "source_balanced_accuracy", "domain_distance"
"""Further figures that a search may be told to improve: on labelled validation images, and the squared maximum mean
discrepancy between the domains' features (`embeddings.squared_mmd`)."""
NEEDS_TRAINING_FEATURES = importance_weighted_risk.__name__
"""The validator that asks for features of training images."""


def _balanced_losses(evidence: Evidence) -> Floats:
    """Return the cross-entropy of each source image, times N / (number of classes x images of its class)."""
    labels = evidence.source_labels
    losses = -_log_softmax(evidence.source_logits)[np.arange(len(labels)), labels]
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return losses * (len(labels) / len(counts) / counts)[classes]


def _log_softmax(logits: Floats) -> Floats:
    if not np.isfinite(logits).all():
        return np.full(logits.shape, np.nan)
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _entropies(logs: Floats) -> Floats:
    """Return the entropies, in nats, of distributions given by their logarithms along the last axis."""
    entropies: Floats = -(np.exp(logs) * logs).sum(axis=-1)
    return entropies


def _check_logits(logits: Floats, labels: NDArray[np.int64]) -> None:
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(labels) or logits.shape[1] < 2:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}, expected (N, K) and (N,), K > 1")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels are {np.unique(labels)[:5]}, expected whole numbers below {logits.shape[1]}"
        )
