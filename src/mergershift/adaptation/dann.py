"""Adversarial adaptation: features from which a domain classifier cannot tell the domains apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mergershift.adaptation.contract import Adaptation, check_features
from mergershift.errors import UserError
from mergershift.networks import Activations


class DANN(Adaptation):
    """The loss of a domain classifier, whose gradient reaches the network with its sign reversed.

    Ganin et al. 2016 (arXiv:1505.07818), eqs. 9-18: minimising it trains the classifier to tell the domains
    apart, and the network to keep it from doing so. It is log 2 where the classifier can only guess.

    The weighting scales the classifier's own gradient as well as the reversed one. Optimisers of Adam's kind
    divide such a factor out of the classifier's steps, so that with them a `Ramp` is the published schedule,
    in which the classifier learns at full speed from the first step.

    The published classifier for DeepMerge's images (arXiv:2103.01373) is `hidden` 1024-1024 without
    normalisation. On thousands of features it tells any two batches apart within a few steps, and a saturated
    classifier teaches the network nothing. The defaults are therefore smaller, and features are normalised
    over both batches together: that keeps every difference between the domains, but gives each feature the
    same say, and a network that scales its features up or down gains nothing by it.

    Args:
        hidden: widths of the domain classifier's hidden layers.
        dropout: probability of dropping after each hidden layer.
        normalise: bring each feature to mean 0 and variance 1 over both batches before the classifier.

    Raises UserError on a width below 1 and on a dropout that is no probability.
    """

    def __init__(
        self, hidden: Sequence[int] = (64, 64), dropout: float = 0.5, normalise: bool = True
    ) -> None:
        super().__init__()
        check_domain_network(hidden, dropout)
        self.hidden, self.dropout, self.normalise = tuple(hidden), dropout, normalise

    def build(self, feature_size: int, classes: int) -> None:
        """Make the domain classifier of F features."""
        self.domain_network = DomainNetwork(feature_size, self.hidden, self.dropout)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the domain loss (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the F of `build`.
        """
        rows = joined_features(source, target, self.normalise)
        return domain_loss(self.domain_network(rows), len(source.features))


class ReverseGradient(torch.autograd.Function):
    """The identity forwards; backwards, the gradient with its sign changed."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Return the rows as they are."""
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return minus the gradient."""
        return -gradients[0]


class DomainNetwork(nn.Module):
    """A perceptron whose logit is positive for the source; what it is given gets the reversed gradient."""

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.inputs = inputs
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits `(B,)` of rows `(B, inputs)`; raises ValueError on rows of another width."""
        if rows.shape[1] != self.inputs:
            raise ValueError(f"rows of {rows.shape[1]} numbers, expected {self.inputs} as when it was built")
        logits: Tensor = self.layers(ReverseGradient.apply(rows))
        return logits.squeeze(1)


def check_domain_network(hidden: Sequence[int], dropout: float) -> None:
    """Raise UserError on a width below 1 and on a dropout that is no probability."""
    if any(width < 1 for width in hidden):
        raise UserError(f"hidden is {list(hidden)}, expected widths of at least 1 (conf/adaptation/)")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, expected 0 <= dropout < 1 (conf/adaptation/)")


def joined_features(source: Activations, target: Activations, normalise: bool) -> Tensor:
    """Features of both domains `(N + M, F)`, source first; normalised, each has mean 0 and variance 1.

    Raises ValueError unless they are `(N, F)` and `(M, F)` with at least one row each.
    """
    check_features(source.features, target.features)
    rows = torch.cat([source.features, target.features])
    return functional.batch_norm(rows, None, None, training=True) if normalise else rows


def domain_loss(logits: Tensor, sources: int, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy (scalar) of logits `(N + M,)`, of which the first N = `sources` are the source's.

    Both domains count the same, whatever N and M are. Weights `(N + M,)` say how much an image counts among
    those of its domain.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = torch.ones_like(wide) if weights is None else weights.to(wide)
    signs = torch.ones_like(wide)
    signs[:sources] = -1
    # softplus of minus the logit and of the logit are -log of the probabilities of source and target.
    losses = weights * functional.softplus(signs * wide)
    halves = (losses[half].sum() / weights[half].sum() for half in (slice(sources), slice(sources, None)))
    return torch.stack([*halves]).mean()
