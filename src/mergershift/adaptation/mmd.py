"""Maximum mean discrepancy between the features of two domains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mergershift.adaptation.contract import Adaptation, check_features
from mergershift.errors import UserError
from mergershift.networks import Activations

PUBLISHED_SIGMAS = (
    *(1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1),
    *(1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0),
    *(100.0, 1e3, 1e4, 1e5, 1e6),
)
"""The 19 kernel widths of the code released with arXiv:2103.01373, in squared units of the features."""


class MMD(Adaptation):
    """The squared MMD with a sum of Gaussian kernels, biased estimate: never negative, 0 for equal batches.

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t), with
    k(x, y) = sum over sigma of exp(-|x - y|² / (2 sigma)).
    Gretton et al. 2012 (JMLR 13:723), eq. 5; the kernels of Ćiprijanović et al. 2021 (arXiv:2103.01373).

    Args:
        sigmas: kernel widths, squared units of the features.

    Raises UserError unless there is at least one width and all are positive.
    """

    def __init__(self, sigmas: Sequence[float] = PUBLISHED_SIGMAS) -> None:
        super().__init__()
        if not sigmas or min(sigmas) <= 0:
            raise UserError(
                f"sigmas are {list(sigmas)}, expected one or more positive numbers (conf/adaptation/)"
            )
        self.sigmas = tuple(float(sigma) for sigma in sigmas)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the squared MMD (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        return mmd(source.features, target.features, self.sigmas)


def mmd(source: Tensor, target: Tensor, sigmas: Sequence[float] = PUBLISHED_SIGMAS) -> Tensor:
    """Compute the biased squared MMD (scalar) of `(N, F)` and `(M, F)`; see `MMD`.

    Memory grows with (N + M)² and (N + M) F, never with their product.
    """
    check_features(source, target)
    squares = squared_distances(torch.cat([source, target]))
    kernels = torch.stack([torch.exp(squares / (-2 * sigma)) for sigma in sigmas]).sum(0)
    split = len(source)
    within = kernels[:split, :split].mean() + kernels[split:, split:].mean()
    return within - 2 * kernels[:split, split:].mean()


def squared_distances(rows: Tensor) -> Tensor:
    """Return all |x_i - x_j|² `(N, N)` of rows `(N, F)`: never negative, exactly 0 on the diagonal.

    At least float32 in the result. The Gram matrix is made in float64: the narrowest published kernels notice
    an error of 1e-6 between equal rows, which float32 exceeds at a few thousand features.
    """
    result = torch.promote_types(rows.dtype, torch.float32)
    # Apple's GPUs have no float64; there, centring alone keeps the cancellation small, and autocast would
    # round the product to 16 bits.
    wide = rows.to(result if rows.device.type == "mps" else torch.float64)
    centred = wide - wide.mean(0, keepdim=True)
    with torch.autocast(rows.device.type, enabled=False):
        gram = centred @ centred.T
    norms = gram.diagonal()
    return (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0).to(result)
