"""Validators that compare predictions on the target with the shares of the classes in the source.

They assume that the classes are as frequent in the target as in the source, which holds where both domains show the
same population of galaxies. Without knowledge of the shares, a classifier that calls half of the images mergers
cannot be distinguished from one that is right. All three know the target through its predictions alone.
"""

from __future__ import annotations

import numpy as np

from mergershift.evaluation.evidence import Evidence, entropies, log_softmax
from mergershift.evaluation.metrics import Floats


def source_prior_information(evidence: Evidence) -> float:
    """Return minus the divergence of the mean prediction from the source's shares, minus the mean entropy.

    Information maximisation, whose first term prefers equally frequent classes, is the special case of equal shares,
    but for the constant log K: the entropy of the mean prediction is log K - KL(mean | 1/K). Here the mean is
    compared with the shares of the classes in the source, -KL(mean | shares), after the probabilities, which balanced
    training estimates for equal shares, have been corrected for them (Saerens et al. 2002, Neural Comput. 14:21, eq.
    2.4). The idea of a known prior is that of Krause et al. 2010 (NeurIPS 23, section 3). The largest score is 0. Known
    weakness: the rarer a class, the less it costs to miss it, so that a classifier that is not sure of the rare class
    can do better by never calling it.
    """
    shares = evidence.source_shares
    logs = log_softmax(evidence.target_logs() + _log(shares))
    mean = np.exp(logs).mean(axis=0)
    divergence = np.sum(mean * (_log(mean) - _log(shares)))
    return -float(divergence + np.mean(entropies(logs)))


def balanced_information(evidence: Evidence) -> float:
    """Return the information that predictions have about the class, in a target reweighted to equal class shares.

    An image with the probabilities p_c under equal shares gets the weight 1 / (K sum over c of s_c p_c), the ratio
    between the densities of a target with equal shares and of one with the source's shares s. The score is the
    entropy of the weighted mean prediction minus the weighted mean of the entropies, from 0 to log K: information
    maximisation (Krause et al. 2010, NeurIPS 23), with importance weights for the shift of the shares as in Lipton et
    al. 2018 (arXiv:1802.03916). All classes count equally, as they do in balanced accuracy.
    """
    logs = evidence.target_logs()
    probabilities = np.exp(logs)
    weights = 1 / np.maximum(probabilities @ evidence.source_shares, np.finfo(float).tiny)
    weights /= weights.sum()
    mean = weights @ probabilities
    return float(entropies(_log(mean)) - weights @ entropies(logs))


def balanced_transport(evidence: Evidence) -> float:
    """Return the balanced accuracy that predictions promise, if the classes are as frequent as in the source.

    The images are divided among the two classes in the source's shares, so that the sum of the probabilities of
    their classes is the largest possible: the class that an image then has is the one it would have by its rank. The
    score is the mean over the classes of the mean probability, under equal shares, of the class in its images, from 0
    to 1. This is the estimate of confidence optimal transport (Lu et al. 2023, arXiv:2305.15640), whose mean over
    images estimates accuracy, for balanced accuracy. Of equally sure classifiers, one that calls the right number of
    images mergers scores highest, whatever their sureness. Of a calibrated classifier it is the balanced accuracy if
    the shares are equal, and up to 0.04 more at 5 % mergers. Known weakness: a classifier that is sure of its mistakes
    gains, unless that changes the number of images it calls mergers.

    Raises ValueError unless there are two classes.
    """
    if evidence.target_logits.shape[1] != 2:
        raise ValueError(f"{evidence.target_logits.shape[1]} classes, expected 2")
    chances = np.sort(np.exp(evidence.target_logs())[:, 1])[::-1]
    share = evidence.source_shares[1]
    # The image on the border between the classes belongs to both, so that the shares hold exactly.
    taken = np.clip(share * len(chances) - np.arange(len(chances)), 0.0, 1.0)
    by_class = [((1 - taken) @ (1 - chances), (1 - taken).sum()), (taken @ chances, taken.sum())]
    return float(np.mean([total / count for total, count in by_class if count > 0]))


def _log(values: Floats) -> Floats:
    """Return the logarithms, finite also for 0."""
    logs: Floats = np.log(np.maximum(values, np.finfo(float).tiny))
    return logs
