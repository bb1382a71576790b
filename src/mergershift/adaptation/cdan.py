"""Adversarial adaptation conditioned on what the network predicts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergershift.adaptation.dann import DANN, domain_loss, joined_features
from mergershift.networks import Activations


class CDAN(DANN):
    """DANN whose domain classifier sees each image's features multiplied by its class probabilities.

    Long et al. 2018 (arXiv:1705.10667): the classifier is given the outer product of the F features and the
    K probabilities (eq. 4), so that the domains are aligned class by class. With entropy conditioning (CDAN+E,
    eq. 8) an image counts 1 + exp(-H), H the entropy of its probabilities, so that images the network is sure
    of come first.

    As in the authors' code, the probabilities condition the classifier and get no gradient from it. Unlike
    there, H gets none either, lest the network deceive the classifier by being unsure; and all F K products are
    taken, where the paper projects more than 4096 at random: for two classes they are few enough.

    Args:
        hidden: widths of the domain classifier's hidden layers.
        dropout: probability of dropping after each hidden layer.
        normalise: bring each feature to mean 0 and variance 1 over both batches; see `DANN`.
        spectral: bound the classifier's slope; see `DANN`.
        entropy_conditioning: let sure predictions count more.

    Raises UserError on a width below 1 and on a dropout that is no probability.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        normalise: bool = False,
        spectral: bool = True,
        entropy_conditioning: bool = True,
    ) -> None:
        super().__init__(hidden, dropout, normalise, spectral)
        self.entropy_conditioning = entropy_conditioning

    def build(self, feature_size: int, classes: int) -> None:
        """Make the domain classifier of F x K products."""
        super().build(feature_size * classes, classes)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the domain loss (scalar) of features `(N, F)`, `(M, F)` and logits `(N, K)`, `(M, K)`.

        The labels are not used. Raises ValueError unless the features are matrices of at least one row with
        the F of `build`, and the logits matrices of as many rows with its K.
        """
        rows = joined_features(source, target, self.normalise)
        logits = _joined_logits(source, target).detach()
        probabilities = torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        products = (probabilities[:, :, None] * rows[:, None, :]).flatten(1)
        weights = entropy_weights(probabilities) if self.entropy_conditioning else None
        return domain_loss(self.domain_network(products), len(source.features), weights)


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Return 1 + exp(-H) `(B,)` for probabilities `(B, K)`: 2 for a sure image, 1 + 1 / K for an unsure one."""
    entropies = torch.special.entr(probabilities).sum(1)
    return 1 + torch.exp(-entropies)


def _joined_logits(source: Activations, target: Activations) -> Tensor:
    """Logits of both domains `(N + M, K)`; raises ValueError where they do not fit each other or the features."""
    for each in (source, target):
        if each.logits.ndim != 2 or len(each.logits) != len(each.features):
            raise ValueError(
                f"logits of shape {tuple(each.logits.shape)} for {len(each.features)} rows, expected (B, K)"
            )
    if source.logits.shape[1] != target.logits.shape[1]:
        raise ValueError(f"logits of {source.logits.shape[1]} and of {target.logits.shape[1]} classes")
    return torch.cat([source.logits, target.logits])
