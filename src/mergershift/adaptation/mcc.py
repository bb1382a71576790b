"""Minimum class confusion, which reduces the number of target images undecided between two classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.adaptation.entropy import softmax_entropy
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class MCC(Adaptation):
    """The confusion between classes in the target's own predictions (Jin et al. 2020, arXiv:1912.03699).

    Let p = softmax(logits / temperature) `(M, K)`. Images are weighted by their certainty,
    w_i = M (1 + exp(-H_i)) / sum_j (1 + exp(-H_j)), where H is the entropy of p. The class confusion is
    C = pᵀ diag(w) p, and each row is divided by its sum, so that rare classes have the same weight as frequent
    ones. The penalty is the sum of all off-diagonal entries divided by K. As in the released code, no gradient
    flows through w. Because C is symmetric, that code's division by columns gives the same value.

    The penalty ranges from 0, if each class is predicted with certainty for some images, to (K - 1) / K, if all
    predictions are uniform. However little of a class is predicted any more, it is confused with the others in nearly
    all of its row, so predicting a single class for every image does not minimise the penalty. (C is not formed, since
    the row of such a class underflows.) The method compares no features and does not use the source.

    Args:
        temperature: divides the logits, so that over-confident predictions still reveal which classes they
            confuse; 2.5 in most of the paper's experiments.

    Raises UserError unless the temperature is positive and finite.
    """

    def __init__(self, temperature: float = 2.5) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise UserError(
                f"temperature is {temperature}, expected a finite positive number (conf/adaptation/)"
            )
        self.temperature = temperature

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the confusion (scalar) of the target's logits `(M, K)`; source and labels are not used.

        Raises ValueError unless the logits are a matrix of at least one row and two columns.
        """
        logits = target.logits
        if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2:
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}, expected (M, K) with at least 2 classes"
            )
        cooled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature
        certainty = 1 + torch.exp(-softmax_entropy(cooled.detach()))
        return class_confusion(cooled.log_softmax(1), certainty / certainty.mean())


def class_confusion(log_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Compute the normalised confusion (scalar) of log p `(M, K)` with image weights `(M,)`; see `MCC`."""
    # Row j of C, divided by its sum, is the mean of p over images with weights w_i p_ij.
    shares = (log_probabilities + weights[:, None].log()).softmax(0)
    # Autocast would round the product to 16 bits.
    with torch.autocast(log_probabilities.device.type, enabled=False):
        normalised = shares.T @ log_probabilities.exp()
    classes = len(normalised)
    own = torch.eye(classes, dtype=torch.bool, device=normalised.device)
    return normalised.masked_fill(own, 0).sum() / classes
