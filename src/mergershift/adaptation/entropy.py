"""Entropy minimisation, which pushes the decision boundary away from the images of both domains."""

from __future__ import annotations

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.networks import Activations


class Entropy(Adaptation):
    """The mean entropy of the predicted probabilities over all images of both batches, in nats.

    The penalty is the mean over N + M images i of -sum_k p_ik log p_ik. Grandvalet & Bengio 2004 (NIPS 17)
    minimise it on unlabelled data alone; this is the form of Ćiprijanović et al. 2021 (arXiv:2103.01373) and
    their released code, in which source images have the same weight as target images. Its values range from 0,
    if every prediction is certain, to log K, if all are uniform. Entropy does not measure the shift between the
    domains: it helps only if most target images are already classified correctly.
    """

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the mean entropy (scalar) of logits `(N, K)` and `(M, K)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same K.
        """
        if source.logits.shape[1:] != target.logits.shape[1:]:
            raise ValueError(
                f"logits have shapes {tuple(source.logits.shape)} and {tuple(target.logits.shape)}, "
                "expected (N, K) and (M, K)"
            )
        return torch.cat([softmax_entropy(source.logits), softmax_entropy(target.logits)]).mean()


def softmax_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy `(N,)` in nats of the softmax of logits `(N, K)`.

    The result has at least float32 precision. Raises ValueError unless `logits` is a matrix of at least one row.
    """
    if logits.ndim != 2 or not logits.numel():
        raise ValueError(f"logits have shape {tuple(logits.shape)}, expected (N, K)")
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(1)
    return -(log_probabilities.exp() * log_probabilities).sum(1)
