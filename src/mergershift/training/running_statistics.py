"""The running statistics of a network's batch normalisations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def kept_statistics(network: nn.Module) -> Iterator[None]:
    """A context in which training passes use the batch's statistics, but leave the running ones as they are."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            # A momentum of 0 leaves the layer its fast form; without a momentum, the layer counts the batches.
            if norm.momentum is None:
                norm.track_running_stats = False
            else:
                norm.momentum = 0.0
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.track_running_stats = momentum, tracked
