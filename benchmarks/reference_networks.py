"""The networks layer by layer, each layer as PyTorch's own module: convolution, normalisation, ReLU and pooling apart.

They are the reference for the training step, and what the roofline counts: they compute the same as the networks of
`mergershift.networks`, from the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mergershift.networks import Activations


class WidthNorm(nn.Module):
    """Batch normalisation over the image width, as Keras' default axis makes of channels-first images."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)

    def forward(self, images: Tensor) -> Tensor:
        normalised: Tensor = self.norm(images.transpose(1, 3)).transpose(1, 3)
        return normalised


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.activation = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.activation(self.residual(images) + self.shortcut(images))
        return result


class Reference(nn.Module):
    """A network whose `features` are followed by a `head`; a single logit z becomes the pair (0, z)."""

    def __init__(self, features: nn.Module, head: nn.Sequential, penalised: float = 0.0) -> None:
        super().__init__()
        self.features, self.head, self.penalised = features, head, penalised

    def forward(self, images: Tensor) -> Activations:
        features = self.features(images)
        logits = self.head(features)
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return Activations(features, logits)

    def regularisation(self) -> Tensor:
        """Return the penalty on the weights of the head's softmax layers (scalar)."""
        zero = next(self.parameters()).new_zeros(())
        if not self.penalised:
            return zero
        layers = [layer for layer in self.head if isinstance(layer, nn.Linear)][:-1]
        return self.penalised * sum((layer.weight.square().sum() for layer in layers), start=zero)


def deepmerge(channels: int, size: int) -> Reference:
    """DeepMerge of arXiv:2103.01373."""
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((channels, 8, 5), (8, 16, 3), (16, 32, 3)):
        convolution = nn.Conv2d(inputs, outputs, kernel, padding="same")
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    dense = [nn.Linear(32 * (size // 8) ** 2, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)]
    return Reference(nn.Sequential(*layers, nn.Flatten()), nn.Sequential(*dense))


def deepmerge_2020(channels: int, size: int) -> Reference:
    """The network of arXiv:2004.11981."""
    layers: list[nn.Module] = []
    for place, (inputs, outputs, kernel) in enumerate(((channels, 8, 5), (8, 16, 3), (16, 32, 3))):
        convolution = nn.Conv2d(inputs, outputs, kernel, padding="same")
        layers += [convolution, nn.ReLU(), WidthNorm(size >> place), nn.MaxPool2d(2), nn.Dropout(0.5)]
    hidden = [nn.Linear(32 * (size // 8) ** 2, 64), nn.Softmax(1), nn.Linear(64, 32), nn.Softmax(1)]
    return Reference(nn.Sequential(*layers, nn.Flatten()), nn.Sequential(*hidden, nn.Linear(32, 1)), 1e-4)


def resnet18(channels: int, size: int) -> Reference:
    """The residual network of 18 layers for small images, of any `size`."""
    stem = [nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    stages: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)]
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        stages += [Residual(inputs, outputs, stride), Residual(outputs, outputs, 1)]
    neck = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 256)]
    return Reference(nn.Sequential(*stem, *stages, *neck), nn.Sequential(nn.Linear(256, 2)))


NETWORKS = {"deepmerge": deepmerge, "deepmerge_2020": deepmerge_2020, "resnet18": resnet18}


def reference_of(name: str, weights: dict[str, Any], channels: int, size: int) -> Reference:
    """Build the network `name` with the weights of one of `mergershift.networks`, whose order of layers is the same."""
    reference = NETWORKS[name](channels, size)
    own = reference.state_dict()
    reference.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    return reference
