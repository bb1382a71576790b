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
    (Lupton, Gunn & Szalay 1999, AJ 118, 1406), or ``f(x) = x`` where `softening` is None. `mean` and `std` are
    those of the source's training rows, never of the target.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float], softening: float | None) -> None:
        super().__init__()
        self.softening = softening
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Stretch `(B, C, H, W)`."""
        if self.softening is not None:
            images = self.softening * torch.asinh(images / self.softening)
        return (images - self.mean) / self.std
