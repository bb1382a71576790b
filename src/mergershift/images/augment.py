"""Dihedral augmentation of a whole batch, and the stretch that images pass before a network."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn


def dihedral(images: Tensor, generator: Generator) -> Tensor:
    """Turn and mirror each image `(B, C, H, H)` by one of the eight symmetries of the square, drawn evenly.

    A merger has no preferred position angle, so all eight show an equally likely sky. Grouping the batch by
    symmetry keeps this free of per-image Python.
    """
    which = torch.randint(8, (len(images),), generator=generator).to(images.device)
    result = torch.empty_like(images)
    for symmetry in range(8):
        chosen = which == symmetry
        turned = torch.rot90(images[chosen], symmetry % 4, dims=(-2, -1))
        result[chosen] = turned.flip(-1) if symmetry >= 4 else turned
    return result


class Stretch(nn.Module):
    """Surface brightness in µJy/arcsec² to numbers of order one: ``(f(x) - mean) / std`` per filter.

    ``f(x) = s asinh(x / s)`` with the softening s, close to x for faint pixels and logarithmic for bright ones
    (Lupton, Gunn & Szalay 1999, AJ 118, 1406), or ``f(x) = x`` where `softening` is None. Mean and deviation of
    f(x) are those of the images that it was fitted to: the labelled training rows, never the target's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, softening: float | None) -> None:
        super().__init__()
        self.softening = softening
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("std", torch.ones(1, channels, 1, 1))

    def fit(self, images: Tensor) -> None:
        """Take mean and deviation per filter from `(N, C, H, W)`, in blocks."""
        total = torch.zeros(images.shape[1], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for block in images.split(256):
            values = self._scaled(block).double()
            total += values.sum((0, 2, 3)).cpu()
            squares += values.square().sum((0, 2, 3)).cpu()
        mean = total / (images.numel() // images.shape[1])
        std = (squares / (images.numel() // images.shape[1]) - mean**2).sqrt()
        self.mean.copy_(mean.view(1, -1, 1, 1))
        self.std.copy_(std.view(1, -1, 1, 1))

    def _scaled(self, images: Tensor) -> Tensor:
        return images if self.softening is None else self.softening * torch.asinh(images / self.softening)

    def forward(self, images: Tensor) -> Tensor:
        """Stretch `(B, C, H, W)`."""
        return (self._scaled(images) - self.mean) / self.std
