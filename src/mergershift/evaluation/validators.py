"""Label-free model selection: a validator assigns each candidate a score, and higher scores are better.

The score is NaN if the candidate has diverged, that is, if one of its values is NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.confidence_validators import matrix_norm, nuclear_norm, transfer_score
from mergershift.evaluation.density_ratios import density_ratios
from mergershift.evaluation.evidence import Evidence, check_logits, entropies, log_softmax
from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.share_validators import (
    balanced_information,
    balanced_transport,
    source_prior_information,
)

TEMPERATURE = 0.05
"""Published temperature of the soft neighbourhoods."""
_ROWS_AT_ONCE = 512


def source_validation_risk(evidence: Evidence) -> float:
    """Return the negative cross-entropy on the labelled domain's validation images, with equal class weights.

    The score is -1/K times the sum over classes c of the mean over images of class c of -log p(c | x). DeepMerge II
    was selected in this way, but by accuracy (Ćiprijanović et al. 2021, arXiv:2103.01373). The score does not depend
    on the target.
    """
    return -float(np.mean(_balanced_losses(evidence)))


def target_entropy(evidence: Evidence) -> float:
    """Return the negative mean entropy of the predictions on the target, 1/M times the sum over i, c of p log p.

    This is the criterion of Morerio et al. 2018 (arXiv:1711.10288). Known weakness: a classifier that confidently
    assigns every image to the same class gets the best possible score, 0.
    """
    return -float(np.mean(entropies(log_softmax(evidence.target_logits))))


def information_maximisation(evidence: Evidence) -> float:
    """Return the entropy of the mean prediction on the target minus the mean entropy of the predictions.

    The score H(1/M sum over i of p_i) - 1/M sum over i of H(p_i) ranges from 0 to log K. It is high for predictions
    that are confident for each image but balanced over all images (Krause et al. 2010, NeurIPS 23; for adaptation
    Shi & Sha 2012, arXiv:1206.6438). A classifier that assigns every image to the same class gets 0. Known weakness:
    the score assumes that the classes are equally frequent. If they are not, a classifier that wrongly assigns half
    of the images to the mergers gets a higher score than one that is always right.
    """
    logs = log_softmax(evidence.target_logits)
    mean = np.exp(logs).mean(axis=0)
    return float(entropies(np.log(np.maximum(mean, np.finfo(float).tiny))) - np.mean(entropies(logs)))


def soft_neighbourhood_density(evidence: Evidence) -> float:
    """Return the mean entropy of each target image's similarities to all others, high for dense neighbourhoods.

    Let f_i be the softmax output of image i, normalised to length 1, and P_ij = exp(f_i · f_j / 0.05) / sum over
    k ≠ i of exp(f_i · f_k / 0.05) for j ≠ i. The score is -1/M times the sum over i, j of P_ij log P_ij (Saito et al.
    2021, arXiv:2108.10860). As the authors do for classification, it uses the classifier's probabilities, not its
    features. Known weakness: identical outputs have the highest density, log(M - 1), so that a classifier that
    assigns every image to the same class gets the best score.

    Raises ValueError if there are fewer than two target images.
    """
    outputs = np.exp(log_softmax(evidence.target_logits))
    if len(outputs) < 2:
        raise ValueError(f"{len(outputs)} target image, expected at least two, to compute neighbourhoods")
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, len(outputs), _ROWS_AT_ONCE):
        part = outputs[start : start + _ROWS_AT_ONCE]
        similar = part @ outputs.T / TEMPERATURE
        others = np.ones(similar.shape, dtype=bool)
        others[np.arange(len(part)), start + np.arange(len(part))] = False
        total += float(entropies(log_softmax(similar[others].reshape(len(part), -1))).sum())
    return total / len(outputs)


def importance_weighted_risk(evidence: Evidence) -> float:
    """Return the negative risk on the target, estimated from source images that resemble the target's.

    In Deep Embedded Validation (You et al. 2019, ICML, PMLR 97:7124), with losses l, density ratios w
    (`density_ratios`) and L = w l, the risk is mean L + eta (mean w - 1), where eta = -cov(L, w) / var(w). The losses
    are those of `source_validation_risk`, and the score equals it if all ratios are equal. The classes have equal
    weights if they are as frequent in the target as in the source. In addition to the published method, the estimate
    is limited to the range between the smallest and the largest loss, outside which no weighted mean can be. Known
    weakness: if the domains are separated in feature space, few or no source images represent the target, and the
    estimate is an extrapolation.
    """
    source_train, target_train = evidence.source_train_features, evidence.target_train_features
    if source_train is None or target_train is None:
        raise ValueError("no features of training images, which importance_weighted_risk needs")
    losses = _balanced_losses(evidence)
    ratios = density_ratios(source_train, target_train, evidence.source_features)
    if not (np.isfinite(losses).all() and np.isfinite(ratios).all()):
        return float("nan")
    # Ratios that differ by rounding errors only would make eta pure noise.
    if np.std(ratios) <= 1e-6 * np.mean(ratios):
        return -float(np.mean(losses))
    covariance = np.cov(ratios * losses, ratios)
    risk = np.mean(ratios * losses) - covariance[0, 1] / covariance[1, 1] * (np.mean(ratios) - 1)
    return -float(np.clip(risk, losses.min(), losses.max()))


VALIDATORS: dict[str, Callable[[Evidence], float]] = {
    validator.__name__: validator
    for validator in (
        source_validation_risk,
        target_entropy,
        information_maximisation,
        source_prior_information,
        balanced_information,
        balanced_transport,
        nuclear_norm,
        matrix_norm,
        transfer_score,
        soft_neighbourhood_density,
        importance_weighted_risk,
    )
}
"""All label-free validators by name."""


def oracle_target_balanced_accuracy(target_labels: ArrayLike, target_logits: Floats) -> float:
    """Return the balanced accuracy on the target's labels, which no label-free choice may use.

    Args:
        target_labels: labels `(M,)` from 0 to K - 1.
        target_logits: logits `(M, K)`; the largest determines the class, the first of equal ones.

    Raises ValueError if the shapes do not match or the labels are not class numbers.
    """
    labels = np.asarray(target_labels)
    check_logits(target_logits, labels)
    if not np.isfinite(target_logits).all():
        return float("nan")
    right = target_logits.argmax(axis=1) == labels
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


ORACLE = oracle_target_balanced_accuracy.__name__
JUDGED = "_judged"
"""Suffix of the names of scores on the judging half of the validation galaxies (`halves`)."""
SOURCE_ACCURACY, DOMAIN_DISTANCE = "source_balanced_accuracy", "domain_distance"
"""Further objectives of a search: the balanced accuracy on labelled validation images, and the squared maximum mean
discrepancy between the domains' features (`embeddings.squared_mmd`)."""
NEEDS_TRAINING_FEATURES = importance_weighted_risk.__name__
"""Name of the only validator that needs features of training images."""
NEEDS_FEATURES = (NEEDS_TRAINING_FEATURES, transfer_score.__name__)
"""Names of the validators that need features; all others need nothing but predictions and the source's labels."""


def _balanced_losses(evidence: Evidence) -> Floats:
    """Return the cross-entropy of each source image, times N / (number of classes x number of images of its class)."""
    labels = evidence.source_labels
    losses = -log_softmax(evidence.source_logits)[np.arange(len(labels)), labels]
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return losses * (len(labels) / len(counts) / counts)[classes]
