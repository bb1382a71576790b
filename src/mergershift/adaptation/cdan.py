"""Adversarial adaptation conditioned on the network's predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergershift.adaptation.dann import DANN, domain_loss, joined_features
from mergershift.networks import Activations


class CDAN(DANN):
    """DANN whose domain classifier sees each image's features multiplied by its class probabilities.

    In the method of Long et al. 2018 (arXiv:1705.10667), the classifier is given the outer product of the F
    features and the K probabilities (eq. 4), so that the domains are aligned class by class. With entropy
    conditioning (CDAN+E, eq. 8), each image has the weight 1 + exp(-H), where H is the entropy of its
    probabilities, so that images with confident predictions take priority.

    As in the authors' code, the probabilities condition the classifier but receive no gradient from it. Unlike
    in that code, H receives none either, so that the network cannot deceive the classifier with uncertain
    predictions. The classifier is given all F K products, whereas the paper projects them at random if there
    are more than 4096: for two classes, there are few enough.

    Args:
        hidden: widths of the domain classifier's hidden layers.
        dropout: dropout probability after each hidden layer.
        normalise: standardise each feature to mean 0 and variance 1 over both batches; see `DANN`.
        spectral: bound the classifier's slope; see `DANN`.
        entropy_conditioning: give confident predictions a larger weight.

    Raises UserError if a width is below 1 or the dropout is not in [0, 1).
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
        """Create the domain classifier for F x K products."""
        super().build(feature_size * classes, classes)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the domain loss (scalar) of features `(N, F)`, `(M, F)` and logits `(N, K)`, `(M, K)`.

        The labels are not used. Raises ValueError unless the features are matrices of at least one row with the
        F given to `build`, and the logits matrices of as many rows with the K given to `build`.
        """
        rows = joined_features(source, target, self.normalise)
        logits = _joined_logits(source, target).detach()
        probabilities = torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
        products = (probabilities[:, :, None] * rows[:, None, :]).flatten(1)
        weights = entropy_weights(probabilities) if self.entropy_conditioning else None
        return domain_loss(self.domain_network(products), len(source.features), weights)


def entropy_weights(probabilities: Tensor) -> Tensor:
    """Return the weights 1 + exp(-H) `(B,)` of probabilities `(B, K)`.

    They range from 1 + 1 / K for a uniform prediction to 2 for a certain one.
    """
    entropies = torch.special.entr(probabilities).sum(1)
    return 1 + torch.exp(-entropies)


def _joined_logits(source: Activations, target: Activations) -> Tensor:
    """Join the logits of both domains to `(N + M, K)`.

    Raises ValueError if they do not match each other or the features.
    """
    for domain in (source, target):
        if domain.logits.ndim != 2 or len(domain.logits) != len(domain.features):
            raise ValueError(
                f"logits have shape {tuple(domain.logits.shape)}, expected ({len(domain.features)}, K) as there "
                f"are {len(domain.features)} rows of features"
            )
    if source.logits.shape[1] != target.logits.shape[1]:
        raise ValueError(
            f"logits have {source.logits.shape[1]} classes in the source and {target.logits.shape[1]} in the target, "
            "expected the same number"
        )
    return torch.cat([source.logits, target.logits])
