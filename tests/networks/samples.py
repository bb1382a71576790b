"""A network whose output can be computed by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mergershift.networks import CLASSES, Activations, Network


class Brightness(Network):
    """A network whose features are the filters' means; an image is a merger if the first one is below `limit`.

    Args:
        channels: number of filters of the images.
        limit: mean at which both classes are equally probable.
        slope: how much the difference of the two logits grows when the mean falls by 1.
        weight_penalty: factor on the sum of squares of the head's weights.
    """

    def __init__(
        self, channels: int, limit: float = 16.0, slope: float = 0.1, weight_penalty: float = 0.0
    ) -> None:
        super().__init__()
        self.channels, self.feature_size, self.weight_penalty = channels, channels, weight_penalty
        self.head = nn.Linear(channels, CLASSES)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[1, 0] = -slope
            self.head.bias.copy_(torch.tensor([0.0, slope * limit]))

    def forward(self, images: Tensor) -> Activations:
        features = images.mean((2, 3))
        return Activations(features, self.head(features))

    def regularisation(self) -> Tensor:
        return self.weight_penalty * self.head.weight.square().sum()
