"""What methods share that adapt a trained network with target images alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mergershift.core.errors import UserError
from mergershift.networks import Network


def check_passes(epochs: int, lr: float) -> None:
    """Raise UserError if `epochs` is below 1 or `lr` is not finite and positive."""
    if epochs < 1:
        raise UserError(f"epochs is {epochs}, expected at least 1 (conf/adaptation/)")
    if not 0 < lr < math.inf:
        raise UserError(f"lr is {lr}, expected a finite positive number (conf/adaptation/)")


def check_weight(name: str, weight: float) -> float:
    """Return `weight`; raises UserError if it is negative or not finite."""
    if not 0 <= weight < math.inf:
        raise UserError(f"{name} is {weight}, expected a finite number of at least 0 (conf/adaptation/)")
    return weight


class Mixed:
    """Images of all `batches` `(M, C, H, W)` in batches of mixed classes, drawn anew for every pass from a fixed seed.

    The archive is sorted by class, and the statistics and shares of a batch of one class are not the target's. The
    batches of a pass hold all images once and are as large as the first one given, or larger by a few images.

    Raises ValueError if there is no image.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        parts = list(batches)
        if not sum(map(len, parts)):
            raise ValueError("there are no target images, expected at least one to adapt to")
        self.images = torch.cat(parts)
        self._count = max(1, len(self.images) // len(parts[0]))
        self._generator = Generator().manual_seed(0)

    def rows(self) -> Iterator[Tensor]:
        """Yield the row numbers `(B,)` of one batch after another."""
        order = torch.randperm(len(self.images), generator=self._generator)
        yield from order.to(self.images.device).tensor_split(self._count)

    def __iter__(self) -> Iterator[Tensor]:
        return (self.images[rows] for rows in self.rows())


def batch_norms(network: Network) -> list[_BatchNorm]:
    """Return the batch normalisations with running statistics."""
    return [norm for norm in network.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]


@contextmanager
def batch_statistics(network: Network) -> Iterator[None]:
    """Normalise each batch by its own statistics within this context, with dropout off; running ones change too."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for norm in batch_norms(network):
        norm.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def step(optimiser: torch.optim.Optimizer, loss: Tensor, weights: list[nn.Parameter]) -> None:
    """Take a step of `optimiser` on `weights` alone; no other weight's gradient is touched."""
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    optimiser.step()
    for weight in weights:
        weight.grad = None
