"""The interface that every network implements, and the checks that networks share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mergershift.core.errors import UserError

CLASSES = 2
"""Number of classes K: non-mergers and mergers."""


class Activations(NamedTuple):
    """The output of a network for a batch of `B` images."""

    features: Tensor
    """Features `(B, F)`, which adaptation methods compare between the domains."""
    logits: Tensor
    """Logits `(B, K)` of class 0, non-merger, and class 1, merger; their softmax gives the probabilities."""


class Network(nn.Module):
    """A classifier of galaxy images: `(B, C, H, W)` -> `Activations`."""

    channels: int
    """Number of filters C."""
    feature_size: int
    """Number of features F per image."""

    def forward(self, images: Tensor) -> Activations:
        """Classify images `(B, C, H, W)`; raises ValueError if the network does not accept their shape."""
        raise NotImplementedError

    def regularisation(self) -> Tensor:
        """Return the network's own weight penalty (scalar, 0 for most), which is added to the training loss."""
        return next(self.parameters()).new_zeros(())


def feature_weights(network: Network, images: Tensor) -> list[nn.Parameter]:
    """Return the weights on which the features of `images` `(B, C, H, W)` depend; all others belong to the head."""
    weights = list(network.parameters())
    with torch.enable_grad():
        total = network(images).features.sum()
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
    return [weight for weight, slope in zip(weights, gradients, strict=True) if slope is not None]


def check_images(images: Tensor, channels: int, size: int | None = None) -> None:
    """Raise ValueError unless `images` is `(B, channels, size, size)`; `size` None accepts any height and width."""
    shape = tuple(images.shape)
    fits = len(shape) == 4 and shape[1] == channels and (size is None or shape[2:] == (size, size))
    if not fits:
        sides = "H, W" if size is None else f"{size}, {size}"
        raise ValueError(f"images have shape {shape}, but the network expects (B, {channels}, {sides})")


def check_dropout(dropout: float) -> float:
    """Return `dropout`; raises UserError unless it is a probability below 1."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, expected 0 <= dropout < 1 (conf/network/)")
    return dropout


def pooled_size(size: int, pools: int) -> int:
    """Return the side of a square image after `pools` max-poolings by 2, each of which drops an odd last pixel.

    Raises UserError if no pixel would be left.
    """
    remaining = size >> pools
    if remaining < 1:
        raise UserError(
            f"image_size is {size}, expected at least {1 << pools} for {pools} poolings by 2 (conf/network/)"
        )
    return remaining


def sigmoid_as_softmax(logit: Tensor) -> Tensor:
    """Convert the logits `(B, 1)` of a sigmoid output to logits `(B, 2)` whose softmax is the same probability."""
    return torch.cat([torch.zeros_like(logit), logit], dim=1)
