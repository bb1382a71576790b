"""What every network takes and returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mergershift.core.errors import UserError

CLASSES = 2
"""K: non-mergers and mergers."""


class Activations(NamedTuple):
    """What a network makes of a batch of `B` images."""

    features: Tensor
    """`(B, F)`: what adaptation methods compare between the domains."""
    logits: Tensor
    """`(B, K)`: class 0 is a non-merger, class 1 a merger; softmax gives probabilities."""


class Network(nn.Module):
    """A classifier of galaxy images: `(B, C, H, W)` -> `Activations`."""

    channels: int
    """C, the number of filters."""
    feature_size: int
    """F, the length of one image's features."""

    def forward(self, images: Tensor) -> Activations:
        """Classify images `(B, C, H, W)`; raises ValueError where their shape is not the network's."""
        raise NotImplementedError

    def regularisation(self) -> Tensor:
        """Return what the network's own weight penalties add to a training loss (scalar, 0 for most)."""
        return next(self.parameters()).new_zeros(())


def check_images(images: Tensor, channels: int, size: int | None = None) -> None:
    """Raise ValueError unless `images` is `(B, channels, size, size)`; any size where `size` is None."""
    shape = tuple(images.shape)
    fits = len(shape) == 4 and shape[1] == channels and (size is None or shape[2:] == (size, size))
    if not fits:
        sides = "H, W" if size is None else f"{size}, {size}"
        raise ValueError(f"images of shape {shape} given to a network for (B, {channels}, {sides})")


def check_dropout(dropout: float) -> float:
    """Return `dropout`; raises UserError unless it is a probability below 1."""
    if not 0 <= dropout < 1:
        raise UserError(f"dropout is {dropout}, expected 0 <= dropout < 1 (conf/network/)")
    return dropout


def pooled_size(size: int, pools: int) -> int:
    """Side of a square image after `pools` max-poolings by 2 that drop the odd pixel.

    Raises UserError where nothing would be left.
    """
    left = size >> pools
    if left < 1:
        raise UserError(f"image_size is {size}, too small for {pools} poolings by 2: at least {1 << pools}")
    return left


def sigmoid_as_softmax(logit: Tensor) -> Tensor:
    """Turn the logits `(B, 1)` of a sigmoid output into `(B, 2)` whose softmax gives the same probability."""
    return torch.cat([torch.zeros_like(logit), logit], dim=1)
