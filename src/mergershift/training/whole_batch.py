"""Batch statistics and dropout of a whole batch, of which this process has only some rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from mergershift.core.errors import UserError
from mergershift.training.share import Split, all_gathered

_DROPOUTS = (functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d)


class WholeBatch(TorchFunctionMode):
    """A context in which a network, given the own rows of a batch, computes as if it were given all rows.

    It replaces PyTorch's functions for batch normalisation and dropout, whether a module calls them or the network
    itself, so that the network's modules stay as they are. The network has to treat images independently of each other
    otherwise.

    Raises UserError if the network draws random numbers in another way.
    """

    def __init__(self, split: Split) -> None:
        super().__init__()
        self._split = split

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is functional.batch_norm:
            return self._batch_norm(*args, **kwargs or {})
        if func in _DROPOUTS:
            return self._dropout(func, *args, **kwargs or {})
        before = _random_state()
        result = func(*args, **kwargs or {})
        if not all(map(torch.equal, before, _random_state())):
            raise UserError(
                f"The network draws random numbers in {func.__name__}, which cannot be split over processes.\n"
                "Use a trainer with one process (trainer=cpu, trainer=gpu), or dropout as the only random function."
            )
        return result

    def _dropout(
        self,
        dropout: Callable[..., Tensor],
        rows: Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        """Draw the mask of the whole batch, so that all processes draw the same numbers, and apply the own rows of it.

        PyTorch draws in the order in which values lie in memory, so the mask has the layout of the rows.
        """
        if not training or p == 0:
            return rows
        self._check(rows, dropout.__name__)
        order = sorted(range(rows.ndim), key=rows.stride, reverse=True)
        shape = (self._split.total, *rows.shape[1:])
        ones = rows.new_ones([shape[axis] for axis in order]).permute(
            [order.index(axis) for axis in range(rows.ndim)]
        )
        return rows * dropout(ones, p, True)[self._split.own.to(rows.device)]

    def _batch_norm(
        self,
        rows: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalise by the statistics of the whole batch, with which the running ones are updated as in one process."""
        if not training:
            return functional.batch_norm(rows, running_mean, running_var, weight, bias, False, momentum, eps)
        self._check(rows, "batch_norm")
        mean, variance, count = statistics(rows.detach(), len(self._split.rows))
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(momentum * mean)
                running_var.mul_(1 - momentum).add_(momentum * variance * (count / (count - 1)))
        normalised: Tensor = _Normalised.apply(rows, weight, bias, mean, variance, eps, count)
        return normalised

    def _check(self, rows: Tensor, name: str) -> None:
        if len(rows) != len(self._split.own):
            raise UserError(
                f"The network calls {name} with {len(rows)} rows for {len(self._split.own)} images, which cannot be "
                "split over processes.\nUse a trainer with one process (trainer=cpu, trainer=gpu)."
            )


def statistics(rows: Tensor, processes: int) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance `(C,)` of the rows `(b, C, ...)` of all processes, and the number of values."""
    axes = [0, *range(2, rows.ndim)]
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, axes, correction=0)
    own = torch.cat([mean.new_tensor([rows.numel() / rows.shape[1]]), mean, variance]).double()
    parts = torch.stack(all_gathered(own, processes))
    counts, (means, variances) = parts[:, :1], parts[:, 1:].chunk(2, dim=1)
    centre, spread = _joined(means, variances, counts)
    return centre.to(mean.dtype), spread.to(mean.dtype), int(counts.sum())


def _joined(means: Tensor, variances: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance `(K,)` of all values from those of their parts (Chan et al. 1979).

    The variances within the parts and those between their means are added, which loses no digits as a difference of
    large sums would.

    Args:
        means: means of the parts `(P, K)`.
        variances: their biased variances `(P, K)`.
        counts: numbers of values, or numbers in proportion to them, `(P, 1)`.
    """
    shares = counts / counts.sum()
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)


class _Normalised(torch.autograd.Function):
    """Batch normalisation `(b, C, ...)` by the mean and variance `(C,)` of the rows of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: int,
    ) -> Tensor:
        ctx.save_for_backward(rows, weight, mean, variance)
        ctx.eps, ctx.count, ctx.has_bias = eps, count, bias is not None
        return functional.batch_norm(rows, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Add to the gradient at constant statistics, which PyTorch computes, the one that flows through them.

        With x the normalised rows, it is -(sum of g + x times sum of g x) weight / (count std), where the sums over
        the output's gradient g are those of all processes.
        """
        rows, weight, mean, variance = ctx.saved_tensors
        result, times_rows, total = torch.ops.aten.native_batch_norm_backward(
            gradients[0], rows, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.cat([total, times_rows]).to(mean.dtype)
        torch.distributed.all_reduce(sums)
        of_gradient, of_product = sums.chunk(2)
        inverse = (variance + ctx.eps).rsqrt()
        scale = inverse / -ctx.count if weight is None else weight * inverse / -ctx.count
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        constant = (scale * (of_gradient - of_product * inverse * mean)).view(shape)
        slope = (scale * of_product * inverse).view(shape)
        result = (result + constant + slope * rows).to(rows.dtype)
        return (
            result,
            None if weight is None else times_rows,
            total if ctx.has_bias else None,
            None,
            None,
            None,
            None,
        )


def _random_state() -> list[Tensor]:
    """Return the states of the generators that a network draws from by default."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else states
