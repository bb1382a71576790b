"""Maximum mean discrepancy between the features of two domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.core.errors import UserError
from mergershift.networks import Activations

PUBLISHED_SIGMAS = (
    *(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1),
    *(1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0),
    *(100.0, 1e3, 1e4, 1e5, 1e6),
)
"""The 19 kernel widths of the code released with arXiv:2103.01373, in squared units of the features."""

MEDIAN_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Kernel widths as multiples of the median squared distance."""

_NEGLIGIBLE = 1e-6
_LEAST_EXPONENT = -80.0
"""Least exponent of a Gaussian kernel: beside the kernels on the diagonal, which are 1, exp(-80) is nothing."""
_TERMS = 2**21
"""Number of exponentials that are held at a time, 8 MB of them."""
_CLOSE = 1e-3
"""Squared distance in units of the rows' squared norms below which float32 does not suffice."""


class MMD(Adaptation):
    """The squared MMD with a sum of Gaussian kernels, as a biased estimate: never negative, 0 for equal batches.

    The penalty is mean k(s, s') + mean k(t, t') - 2 mean k(s, t) (Gretton et al. 2012, JMLR 13:723, eq. 5), with
    k(x, y) = sum over sigma of exp(-|x - y|² / (2 sigma)), the kernels of Ćiprijanović et al. 2021
    (arXiv:2103.01373).

    Args:
        sigmas: kernel widths in squared units of the features, or "published" for `PUBLISHED_SIGMAS`.

    Raises UserError unless there is at least one width and all are positive.
    """

    def __init__(self, sigmas: Sequence[float] | Literal["published"] = "published") -> None:
        super().__init__()
        if sigmas == "published":
            sigmas = PUBLISHED_SIGMAS
        if isinstance(sigmas, str) or not sigmas or min(sigmas) <= 0:
            raise UserError(
                f"sigmas are {sigmas}, expected one or more positive numbers, or published (conf/adaptation/)"
            )
        self.sigmas = tuple(float(sigma) for sigma in sigmas)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the squared MMD (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        return mmd(source.features, target.features, self.sigmas)


class MedianMMD(Adaptation):
    """The squared MMD with kernels whose widths follow the distances between the batch's features; see `MMD`.

    The widths are sigma = factor x median |x - y|² over all pairs of the joint batch, source and target. This is
    the heuristic of Gretton et al. 2012 (JMLR 13:723, section 8), with a sum of kernels around the median instead
    of a single one. The widths follow the features as they change during training, but no gradient flows through
    them. The penalty is invariant under scaling and translation of all features.

    Args:
        factors: kernel widths as multiples of the median.

    Raises UserError unless there is at least one factor and all are positive.
    """

    def __init__(self, factors: Sequence[float] = MEDIAN_FACTORS) -> None:
        super().__init__()
        if not factors or min(factors) <= 0:
            raise UserError(
                f"factors are {list(factors)}, expected one or more positive numbers (conf/adaptation/)"
            )
        self.factors = tuple(float(factor) for factor in factors)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the squared MMD (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        return median_mmd(source.features, target.features, self.factors)


def mmd(source: Tensor, target: Tensor, sigmas: Sequence[float] = PUBLISHED_SIGMAS) -> Tensor:
    """Compute the biased squared MMD (scalar) of `(N, F)` and `(M, F)`; see `MMD`.

    Memory grows as (N + M)² plus (N + M) F, never as their product.
    """
    check_features(source, target)
    return _mmd_of_squares(squared_distances(torch.cat([source, target])), len(source), sigmas)


def median_mmd(source: Tensor, target: Tensor, factors: Sequence[float] = MEDIAN_FACTORS) -> Tensor:
    """Compute the biased squared MMD (scalar) of `(N, F)` and `(M, F)`; see `MedianMMD`."""
    check_features(source, target)
    squares = squared_distances(_of_order_one(torch.cat([source, target])))
    scale = float(typical_square(squares.detach()))
    return _mmd_of_squares(squares, len(source), [factor * scale for factor in factors])


def _of_order_one(rows: Tensor) -> Tensor:
    """Divide rows by a power of two near the largest absolute value, without which their squares may overflow.

    Such a factor changes no digit of the rows.
    """
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    largest = rows.detach().abs().amax()
    exponent = torch.where(largest > 0, largest, 1.0).log2().floor()
    # In two steps, since the power of two of the smallest numbers overflows.
    return rows * torch.exp2(-(exponent / 2).floor()) * torch.exp2(-(exponent - (exponent / 2).floor()))


def typical_square(squares: Tensor) -> Tensor:
    """Return the median (scalar) of the squared distances `(N, N)` between different rows.

    For an even number of distances, this is the lower of the two middle ones. If the median is negligible
    compared with the mean, because most rows are equal, the mean is returned instead; if all rows are equal, 1 is
    returned, because every width then gives the same penalty.
    """
    first, second = torch.triu_indices(len(squares), len(squares), offset=1, device=squares.device)
    pairs = squares[first, second]
    median, mean = pairs.median(), pairs.mean()
    scale = torch.where(median > _NEGLIGIBLE * mean, median, mean)
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _mmd_of_squares(squares: Tensor, split: int, sigmas: Sequence[float]) -> Tensor:
    """Compute the squared MMD from all squared distances `(N + M, N + M)`, the source's N = `split` rows first."""
    kernels: Tensor = _Kernels.apply(squares, tuple(sigmas))
    within = kernels[:split, :split].mean() + kernels[split:, split:].mean()
    return within - 2 * kernels[:split, split:].mean()


class _Kernels(torch.autograd.Function):
    """The sum over sigma of exp(-x / (2 sigma)), with its derivative, in few passes over the memory."""

    @staticmethod
    def forward(ctx: Any, squares: Tensor, sigmas: tuple[float, ...]) -> Tensor:
        rates = torch.tensor([-0.5 / sigma for sigma in sigmas], dtype=squares.dtype, device=squares.device)
        rates = rates.view(-1, 1, 1)
        kernels, slopes = [], []
        for rows in squares.split(max(1, _TERMS // (len(sigmas) * len(squares)))):
            # An exponential that underflows takes fifty times as long.
            terms = (rates * rows).clamp_min_(_LEAST_EXPONENT).exp_()
            kernels.append(terms.sum(0))
            slopes.append(terms.mul_(rates).sum(0))
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slopes,) = ctx.saved_tensors
        return gradient * slopes, None


def squared_distances(rows: Tensor) -> Tensor:
    """Return all |x_i - x_j|² `(N, N)` of rows `(N, F)`: never negative, exactly 0 on the diagonal.

    The result has at least float32 precision. Its second derivatives are not available.
    """
    squares: Tensor = _SquaredDistances.apply(rows)
    return squares


class _SquaredDistances(torch.autograd.Function):
    """All squared distances, from the Gram matrix of the centred rows.

    Where two rows are close to each other, the difference of two large numbers loses the digits that the narrowest
    kernels are sensitive to; where rows are long, their squares overflow. The Gram matrix is then computed in float64,
    except on Apple's GPUs, which have none.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        result = torch.promote_types(rows.dtype, torch.float32)
        # Autocast would round the product to 16 bits.
        with torch.autocast(rows.device.type, enabled=False):
            centred, squares, norms = _of_gram(rows.to(result))
            if result is torch.float32 and rows.device.type != "mps":
                close = ~(squares >= _CLOSE * norms)  # also where infinite terms leave no difference
                close.fill_diagonal_(False)
                if bool(close.any()):
                    centred, squares, _ = _of_gram(rows.double())
        ctx.save_for_backward(centred)
        return squares.clamp_min(0).to(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the sum over j of 2 (g_ij + g_ji) (x_i - x_j)."""
        (centred,) = ctx.saved_tensors
        pairs = 2 * (gradient + gradient.T).to(centred.dtype)
        pairs.fill_diagonal_(0)
        with torch.autocast(centred.device.type, enabled=False):
            result: Tensor = pairs.sum(1, keepdim=True) * centred - pairs @ centred
        return result.to(gradient.dtype)


def _of_gram(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the centred rows, their squared distances, and the sums of their squared norms, both `(N, N)`."""
    centred = rows - rows.mean(0, keepdim=True)
    gram = centred @ centred.T
    norms = gram.diagonal()[:, None] + gram.diagonal()[None, :]
    return centred, norms - 2 * gram, norms
