"""The rows of a batch that one process passes through the network, and what it learns of the other processes' rows.

A training over W processes takes the steps of one process. Every process draws the same whole batch, passes its own
rows through the network, gathers the activations of all rows and computes the same loss from them.

Gradients: let a_r be the activations of process r, and L(a_1, ..., a_W, p) the loss, with parameters p that do not
belong to the network's pass (a method's, a weighting's, or the network's under its own weight penalty). Each process
knows dL/da_r, and only process r can carry it on to the network's weights, whose gradient is the sum over processes.
DDP takes the mean over processes instead, so `Gathered` multiplies dL/da_r by W. The gradient of p is the same in all
processes, and so is its mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from mergershift.images import joined
from mergershift.networks import Activations
from mergershift.training.running_statistics import kept_statistics


@dataclass(frozen=True)
class Share:
    """The share of one of `processes` processes, whose number is `rank`, in every batch."""

    rank: int = 0
    processes: int = 1

    def activations(self, network: Callable[[Tensor], Activations], *domains: Tensor) -> Activations:
        """Pass images `(N, C, H, W)` of one or more domains through the network as one batch.

        Every process is given all images and returns the activations of all of them, in their order. The batch
        statistics and the dropout are those of a pass of the whole batch in one process. A batch of fewer images than
        processes is not split: all processes compute the whole of it.

        Raises UserError if the network draws random numbers other than by dropout.
        """
        sizes = [len(images) for images in domains]
        if self.processes == 1 or min(sizes) < self.processes:
            return network(joined(domains))
        from mergershift.training.whole_batch import WholeBatch

        split = Split(self, sizes)
        with WholeBatch(split):
            own = network(joined(domains)[split.own.to(domains[0].device)])
        return Activations(*(Gathered.apply(part, split) for part in own))

    def apart(self, network: nn.Module, labelled: Tensor, *others: Tensor) -> Activations:
        """Pass images `(N, C, H, W)` of several domains through the network as a batch for each domain.

        Each is normalised by its own statistics, and those of the labelled domain alone become the running ones. What
        is given and returned is otherwise that of `activations`.
        """
        first = self.activations(network, labelled)
        with kept_statistics(network):
            parts = [first, *(self.activations(network, images) for images in others)]
        return Activations(*(torch.cat(pieces) for pieces in zip(*parts, strict=True)))


ALONE = Share()
"""The share of the only process of a training."""


class Split:
    """The rows of each process in a batch that joins domains of these sizes, as evenly as possible in each domain."""

    def __init__(self, share: Share, sizes: Sequence[int]) -> None:
        self.share, self.total = share, sum(sizes)
        starts = accumulate(sizes, initial=0)
        domains = [torch.arange(start, start + size) for start, size in zip(starts, sizes, strict=False)]
        parts = [domain.tensor_split(share.processes) for domain in domains]
        self.rows = [torch.cat([part[rank] for part in parts]) for rank in range(share.processes)]
        """The row numbers of each process, by rank."""
        self.own = self.rows[share.rank]


def all_gathered(tensor: Tensor, processes: int) -> list[Tensor]:
    """Return the tensors of all processes, by rank; they have the same shape."""
    found = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(processes)]
    torch.distributed.all_gather(found, tensor.contiguous())
    return found


class Gathered(torch.autograd.Function):
    """The rows `(B, F)` of the whole batch, from the own rows `(b, F)` of every process."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, split: Split) -> Tensor:
        """Return the rows of all processes in the order of the whole batch."""
        ctx.split = split
        # Not every backend sends 16 bits; float32 holds them exactly.
        wide = own.to(torch.promote_types(own.dtype, torch.float32))
        padded = wide.new_zeros((max(map(len, split.rows)), *own.shape[1:]))
        padded[: len(own)] = wide
        whole = wide.new_empty((split.total, *own.shape[1:]))
        for rows, part in zip(split.rows, all_gathered(padded, len(split.rows)), strict=True):
            whole[rows.to(own.device)] = part[: len(rows)]
        return whole.to(own.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the own rows, multiplied by the number of processes; see the module."""
        split: Split = ctx.split
        return gradients[0][split.own.to(gradients[0].device)] * len(split.rows), None
