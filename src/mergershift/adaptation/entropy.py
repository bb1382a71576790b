"""Entropy minimisation: a boundary between classes that keeps away from the images of both domains."""

from __future__ import annotations

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.networks import Activations


class Entropy(Adaptation):
    """The mean entropy of the predicted probabilities over all images of both batches, in nats.

    mean_i of -sum_k p_ik log p_ik, over N + M images. Grandvalet & Bengio 2004 (NIPS 17) minimise it on
    unlabelled data alone; this is the form of Ćiprijanović et al. 2021 (arXiv:2103.01373) and the code
    released with it, where the source's images count as the target's do. Between 0, where every prediction is
    certain, and log K, where all are uniform. It knows no shift by itself: it helps where most of the target
    is right already.
    """

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the mean entropy (scalar) of logits `(N, K)` and `(M, K)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same K.
        """
        ours, theirs = source.logits, target.logits
        if ours.shape[1:] != theirs.shape[1:]:
            raise ValueError(
                f"logits of shapes {tuple(ours.shape)} and {tuple(theirs.shape)}, expected (N, K) and (M, K)"
            )
        return torch.cat([softmax_entropy(ours), softmax_entropy(theirs)]).mean()


def softmax_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy `(N,)`, nats, of the softmax of logits `(N, K)`; at least float32 in the result.

    Raises ValueError unless `logits` is a matrix of at least one row.
    """
    if logits.ndim != 2 or not logits.numel():
        raise ValueError(f"logits of shape {tuple(logits.shape)}, expected (N, K)")
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)
