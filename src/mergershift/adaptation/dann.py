"""Adversarial adaptation: features from which a domain classifier cannot distinguish the domains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from mergershift.adaptation.base import Adaptation, check_features, checked_rate
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class DANN(Adaptation):
    """The loss of a domain classifier, whose gradient reaches the network with its sign reversed.

    Minimising this loss (Ganin et al. 2016, arXiv:1505.07818, eqs. 9-18) trains the classifier to distinguish
    the domains, and the network to prevent it from doing so. The loss is log 2 if the classifier can only guess.

    The weighting scales the classifier's own gradient as well as the reversed one. AdamW, and Adam without weight
    decay, divide such a factor out of the classifier's steps, so that with them `Ramp` is the published schedule, in
    which the classifier learns at full speed from the first step. Adam with `weight_decay` does not: it adds the L2
    term to the gradient before the division, so that at the bottom of the ramp the term outweighs the loss, and within
    200 steps the classifier's weights can shrink 10-40 fold.

    The classifier published for DeepMerge's images (arXiv:2103.01373) has `hidden` 1024-1024 and a dropout of 0.5,
    and is neither normalised nor spectral. Given thousands of features, an unconstrained classifier separates two
    batches within a few steps, and once it saturates the network learns nothing from it: the loss goes to 0 and the
    domains stay separate. The default therefore bounds the classifier's slope, so that its loss never saturates.
    For few features, or for a network that scales its features up, `normalise` with an unconstrained classifier
    works as well.

    Args:
        hidden: widths of the domain classifier's hidden layers.
        dropout: dropout probability after each hidden layer.
        normalise: standardise each feature to mean 0 and variance 1 over both batches before the classifier.
        spectral: bound the classifier's slope; see `DomainNetwork`.
        deviations: standard deviation of the initial weights of each layer, the last one included, with biases of 0;
            PyTorch's initialisation if None. The code released with arXiv:2103.01373 has 0.01, 0.01 and 0.3.
        rate: factor on the learning rate of the domain classifier; 0 leaves it as it was initialised. In that code, the
            training script never gives it to the optimiser (0), and the search trains it at a tenth (0.1).
        saturates: compute the loss from probabilities, as that code does, instead of logits: where a probability is
            0 or 1 in float32, an image's loss ends at 100 and its gradient vanishes. Without this, nothing limits how
            far the features are driven by a classifier that does not learn.

    Raises UserError if a width is below 1, the dropout is not in [0, 1), the rate is negative or not finite, or there
    is not one positive deviation per layer.
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        normalise: bool = False,
        spectral: bool = True,
        deviations: Sequence[float] | None = None,
        rate: float = 1.0,
        saturates: bool = False,
    ) -> None:
        super().__init__()
        check_domain_network(hidden, dropout)
        if deviations is not None and (len(deviations) != len(hidden) + 1 or min(deviations) <= 0):
            raise UserError(
                f"deviations are {list(deviations)}, expected {len(hidden) + 1} positive numbers, one for each layer "
                "of the domain classifier (conf/adaptation/)"
            )
        if deviations is not None and spectral:
            raise UserError(
                "deviations are given, but spectral weights are scaled anew; expected spectral: false"
            )
        self.hidden, self.dropout = tuple(hidden), dropout
        self.normalise, self.spectral = normalise, spectral
        self.deviations, self.rate, self.saturates = deviations, checked_rate(rate), saturates

    def build(self, feature_size: int, classes: int) -> None:
        """Create the domain classifier for F features."""
        self.domain_network = DomainNetwork(feature_size, self.hidden, self.dropout, self.spectral)
        layers = [layer for layer in self.domain_network.layers if isinstance(layer, nn.Linear)]
        for layer, deviation in zip(layers, self.deviations or (), strict=self.deviations is not None):
            nn.init.normal_(layer.weight, 0.0, deviation)
            nn.init.zeros_(layer.bias)

    def learning_rate_factor(self, name: str) -> float:
        """Return `rate`, for all weights of the domain classifier."""
        return self.rate

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the domain loss (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the F given to `build`.
        """
        rows = joined_features(source, target, self.normalise)
        logits, sources = self.domain_network(rows), len(source.features)
        return saturating_loss(logits, sources) if self.saturates else domain_loss(logits, sources)


class ReverseGradient(torch.autograd.Function):
    """The identity in the forward pass; the backward pass reverses the sign of the gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Return the rows unchanged."""
        return rows.view_as(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the negative gradient."""
        return -gradients[0]


class DomainNetwork(nn.Module):
    """A perceptron whose logit is positive for the source, and which reverses the gradient of its input.

    With `spectral`, the largest singular value of each layer is kept near 1 by one step of the power method per
    batch (Miyato et al. 2018, arXiv:1802.05957), and rows are divided by the square root of their length. Without
    dropout, two logits then differ by hardly more than the root mean square difference of their rows.
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
            layers = [spectral_norm(layer) if isinstance(layer, nn.Linear) else layer for layer in layers]
        self.layers = nn.Sequential(*layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits `(B,)` of rows `(B, inputs)`; raises ValueError if the rows have another width."""
        return self.plain(ReverseGradient.apply(rows))

    def plain(self, rows: Tensor) -> Tensor:
        """Return the same logits as `forward` without reversing the gradient."""
        if rows.shape[1] != self.inputs:
            raise ValueError(
                f"rows have {rows.shape[1]} columns, expected {self.inputs} as the classifier was built for"
            )
        logits: Tensor = self.layers(rows / self.unit)
        return logits.squeeze(1)


def check_domain_network(hidden: Sequence[int], dropout: float) -> None:
    """Raise UserError if a width is below 1 or the dropout is not in [0, 1)."""
    if any(width < 1 for width in hidden):
        raise UserError(f"hidden is {list(hidden)}, expected widths of at least 1 (conf/adaptation/)")
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, expected 0 <= dropout < 1 (conf/adaptation/)")


def joined_features(source: Activations, target: Activations, normalise: bool) -> Tensor:
    """Join the features of both domains to `(N + M, F)`, source first.

    With `normalise`, each feature has mean 0 and variance 1 over all rows. Raises ValueError unless the features
    are `(N, F)` and `(M, F)` with at least one row each.
    """
    check_features(source.features, target.features)
    rows = torch.cat([source.features, target.features])
    return functional.batch_norm(rows, None, None, training=True) if normalise else rows


def domain_loss(logits: Tensor, sources: int, weights: Tensor | None = None) -> Tensor:
    """Return the binary cross-entropy (scalar) of logits `(N + M,)`, the first N = `sources` from the source.

    Both domains have the same weight, whatever N and M are. `weights` `(N + M,)` are the weights of the images
    within their domain.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    weights = torch.ones_like(wide) if weights is None else weights.to(wide)
    signs = torch.ones_like(wide)
    signs[:sources] = -1
    # softplus(-logit) is -log of the source's probability, and softplus(logit) that of the target's.
    losses = weights * functional.softplus(signs * wide)
    halves = (losses[half].sum() / weights[half].sum() for half in (slice(sources), slice(sources, None)))
    return torch.stack([*halves]).mean()


def saturating_loss(logits: Tensor, sources: int) -> Tensor:
    """Return what `domain_loss` does without weights, computed from probabilities in float32; see `DANN`."""
    with torch.autocast(logits.device.type, enabled=False):
        probabilities = torch.sigmoid(logits.float())
        parts = (
            functional.binary_cross_entropy(part, torch.full_like(part, truth))
            for part, truth in ((probabilities[:sources], 1.0), (probabilities[sources:], 0.0))
        )
        return torch.stack([*parts]).mean()
