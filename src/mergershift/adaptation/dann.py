"""Adversarial adaptation: features from which a domain classifier cannot tell the domains apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class DANN(Adaptation):
    """The loss of a domain classifier, whose gradient reaches the network with its sign reversed.

    Ganin et al. 2016 (arXiv:1505.07818), eqs. 9-18: minimising it trains the classifier to tell the domains
    apart, and the network to keep it from doing so. It is log 2 where the classifier can only guess.

    The weighting scales the classifier's own gradient as well as the reversed one. Optimisers of Adam's kind
    divide such a factor out of the classifier's steps, so that with them a `Ramp` is the published schedule,
    in which the classifier learns at full speed from the first step.

    The published classifier for DeepMerge's images (arXiv:2103.01373) is `hidden` 1024-1024 with a dropout of 0.5,
    neither normalised nor spectral. On thousands of features, any classifier free to grow tells two batches apart
    within a few steps, and a saturated one teaches the network nothing: the loss goes to 0 and the domains stay
    apart. The default keeps the classifier's slope within bounds instead, so that its loss never saturates.
    On few features, or against a network that scales them up, `normalise` with a free classifier serves as well.

    Args:
        hidden: widths of the domain classifier's hidden layers.
        dropout: probability of dropping after each hidden layer.
        normalise: bring each feature to mean 0 and variance 1 over both batches before the classifier.
        spectral: bound the classifier's slope; see `DomainNetwork`.

    Raises UserError on a width below 1 and on a dropout that is no probability.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        normalise: bool = False,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        check_domain_network(hidden, dropout)
        self.hidden, self.dropout = tuple(hidden), dropout
        self.normalise, self.spectral = normalise, spectral

    def build(self, feature_size: int, classes: int) -> None:
        """Make the domain classifier of F features."""
        self.domain_network = DomainNetwork(feature_size, self.hidden, self.dropout, self.spectral)

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
    """A perceptron whose logit is positive for the source; what it is given gets the reversed gradient.

    Spectral: each layer's largest singular value is held near 1, by one step of the power method a batch (Miyato
    et al. 2018, arXiv:1802.05957), and rows are divided by the root of their length. Without dropout, two logits
    then differ by hardly more than the root mean square difference of their rows.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], dropout: float, spectral: bool) -> None:
        super().__init__()
        self.inputs = inputs
        self.unit = inputs**0.5 if spectral else 1.0
        layers: list[nn.Module] = []
        for before, after in pairwise((inputs, *hidden)):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear((inputs, *hidden)[-1], 1))
        if spectral:
            layers = [spectral_norm(each) if isinstance(each, nn.Linear) else each for each in layers]
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits `(B,)` of rows `(B, inputs)`; raises ValueError on rows of another width."""
        return self.plain(ReverseGradient.apply(rows))

    def plain(self, rows: Tensor) -> Tensor:
        """Return the same logits without reversing any gradient."""
        if rows.shape[1] != self.inputs:
            raise ValueError(f"rows of {rows.shape[1]} numbers, expected {self.inputs} as when it was built")
        logits: Tensor = self.layers(rows / self.unit)
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
