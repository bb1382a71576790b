"""DeepAstroUDA: batch normalisation by domain, with adaptive clustering and entropy separation in the target."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.entropy import softmax_entropy
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_LEAST = 1e-6
"""Lower limit of a probability in a logarithm."""


class DeepAstroUDA(AdaBN):
    """Two losses on the target's predictions of a network that normalises each domain by its own statistics.

    After Ćiprijanović et al. 2023 (arXiv:2302.02005), with the penalty
    clustering x adaptive clustering + separation x entropy separation.

    Normalisation: in training, each domain passes through the network as a batch of its own, as in the authors' code,
    with the same weights; afterwards the target's statistics replace the running ones as in `AdaBN`, and scores on the
    source use the source's. Without the two losses, this would be AdaBN.

    Adaptive clustering (Li et al. 2021, arXiv:2104.09415): two images are similar if their classes come in the same
    order of probability, s_ij = 1, for two classes if both are predicted to be of the same class. The loss is the mean
    over pairs of -s_ij log(p_i p_j) - (1 - s_ij) log(1 - p_i p_j), with the inner product of their probabilities. One
    image of a pair is from the target and the other from either domain; no gradient flows through the latter. The
    authors keep images of earlier batches for it, here it is of the same batch, whose predictions are up to date.

    Entropy separation (Saito et al. 2020, DANCE, arXiv:2002.07953): half - max(|H - half|, margin half), with an
    image's entropy H in nats and half = log(K) / 2, so that more certain images become certain, and less certain ones,
    which may be of a class that the source lacks, uncertain. The published form lacks the first term, a constant. The
    margin of 0.5 nats in the released settings exceeds half of log 2: with two classes the loss would never act.

    Both losses strengthen what the network already predicts, and separation keeps half of the images uncertain, which
    is of use only if the target has other classes: `separation: 0` leaves it out.

    Args:
        clustering: weight of adaptive clustering.
        separation: weight of entropy separation.
        margin: share of half = log(K) / 2 by which an entropy has to differ from half for the loss to act.

    Raises UserError unless the weights are finite numbers of at least 0, not both 0, and 0 <= margin < 1.
    """

    uses_target = True
    separate_domains = True

    def __init__(self, clustering: float = 1.0, separation: float = 1.0, margin: float = 0.3) -> None:
        super().__init__()
        for name, weight in {"clustering": clustering, "separation": separation}.items():
            if not 0 <= weight < math.inf:
                raise UserError(
                    f"{name} is {weight}, expected a finite number of at least 0 (conf/adaptation/)"
                )
        if not clustering + separation:
            raise UserError(
                "clustering and separation are 0, which leaves no loss on the target; use adaptation=adabn"
            )
        if not 0 <= margin < 1:
            raise UserError(f"margin is {margin}, expected 0 <= margin < 1 (conf/adaptation/)")
        self.clustering, self.separation, self.margin = clustering, separation, margin

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar) of logits `(N, K)` and `(M, K)`; features and labels are not used.

        The result has at least float32 precision. Raises ValueError unless both are matrices of at least one row with
        the same K of at least 2.
        """
        first, second = source.logits, target.logits
        matrices = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] > 1
        if not matrices or not len(first) * len(second):
            raise ValueError(
                f"logits have shapes {tuple(first.shape)} and {tuple(second.shape)}, expected (N, K) and (M, K) with "
                "at least 2 classes"
            )
        wide = torch.promote_types(first.dtype, torch.float32)
        of_source, of_target = (logits.to(wide).softmax(1) for logits in (first, second))
        clustering = adaptive_clustering(of_source, of_target)
        return self.clustering * clustering + self.separation * entropy_separation(second, self.margin)


def adaptive_clustering(source: Tensor, target: Tensor) -> Tensor:
    """Compute the clustering loss (scalar) of probabilities `(N, K)` and `(M, K)`; see `DeepAstroUDA`."""
    bank = torch.cat([source, target]).detach()
    # Autocast would round the product to 16 bits.
    with torch.autocast(bank.device.type, enabled=False):
        agreement = bank @ target.T
    orders = torch.argsort(bank, dim=1, stable=True)
    similar = (orders[:, None] == orders[None, len(source) :]).all(2)
    losses = -torch.where(similar, agreement, 1 - agreement).clamp_min(_LEAST).log()
    # An image is always similar to itself.
    itself = torch.zeros_like(similar)
    itself[len(source) :].fill_diagonal_(True)
    return losses.masked_fill(itself, 0).sum() / (losses.numel() - len(target))


def entropy_separation(logits: Tensor, margin: float) -> Tensor:
    """Compute the separation loss (scalar) of logits `(M, K)`; see `DeepAstroUDA`."""
    half = math.log(logits.shape[1]) / 2
    return half - (softmax_entropy(logits) - half).abs().clamp_min(margin * half).mean()
