"""Sinkhorn divergence between the features of two domains: the cost of transporting one onto the other."""

from __future__ import annotations

import math

import torch
from geomloss import SamplesLoss
from torch import Tensor

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class Sinkhorn(Adaptation):
    """The debiased Sinkhorn divergence with the cost |x - y|² / 2.

    The divergence is OT(s, t) - OT(s, s) / 2 - OT(t, t) / 2, with
    OT(a, b) = min over plans P of <P, cost> + blur² KL(P, a ⊗ b), after Feydy et al. 2019 (arXiv:1810.08278),
    eq. 3. It is solved by GeomLoss. Other forms use the cost |x - y|² without the factor 1/2, or omit the entropy
    term from OT; both rescale the trade-off, and the second also moves the minimum.

    In thousands of dimensions no two images are close, and a blur far below their distances matches individual
    images: even two batches of the same domain then seem far away from each other. The default blur is half the
    typical distance, which is about 1 per feature after batch normalisation; it preserves the difference between
    the domains and suppresses most of this sampling noise.

    Args:
        blur: length scale below which differences are ignored, in units of the distances.
        scaling: ratio of successive blurs on the way from the largest distance down to `blur`; values nearer to 1
            are slower and closer to the exact divergence.
        per_feature: use the root mean square over the F features as the distance, instead of the root of the sum.
            Blur and trade-off then have the same meaning for a network with 32 features and for one with 2592.

    Raises UserError unless `blur` is positive and `scaling` is between 0 and 1.
    """

    def __init__(self, blur: float = 0.5, scaling: float = 0.5, per_feature: bool = True) -> None:
        super().__init__()
        if not 0 < blur < float("inf"):
            raise UserError(f"blur is {blur}, expected a positive number (conf/adaptation/)")
        self.blur, self.scaling, self.per_feature = blur, checked_scaling(scaling), per_feature

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the divergence (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        unit = source.features.shape[-1] ** 0.5 if self.per_feature else 1.0
        return sinkhorn(source.features / unit, target.features / unit, self.blur, self.scaling)


def checked_scaling(scaling: float) -> float:
    """Return `scaling`; raises UserError unless it is between 0 and 1."""
    if not 0 < scaling < 1:
        raise UserError(f"scaling is {scaling}, expected 0 < scaling < 1 (conf/adaptation/)")
    return scaling


def sinkhorn(source: Tensor, target: Tensor, blur: float, scaling: float) -> Tensor:
    """Compute the debiased divergence (scalar) of rows `(N, F)` and `(M, F)`; see `Sinkhorn`.

    The result has at least float32 precision, whatever the type of the rows. The gradient is that of the exact
    divergence, to the accuracy of the solution; the steps of the solver are not differentiated.
    """
    check_features(source, target)
    wide = torch.promote_types(source.dtype, torch.float32)
    x, y = source.to(wide), target.to(wide)
    # The divergence does not depend on the origin, but the rounding error of the distances does.
    origin = torch.cat([x, y]).detach().mean(0)
    x, y = x - origin, y - origin
    # The distance between two rows is at most twice the norm of the longest row. GeomLoss's own bound, the diagonal
    # of a box, is far larger in thousands of dimensions, and its logarithm is undefined if all rows are equal.
    furthest = 2 * float(torch.cat([x, y]).detach().norm(dim=1).max())
    if not math.isfinite(furthest):
        return (x.sum() + y.sum()) * math.nan  # diverged, which the training reports at the end of the epoch
    loss = SamplesLoss(
        "sinkhorn",
        p=2,
        blur=blur,
        scaling=scaling,
        diameter=max(furthest, blur),
        cost=_half_squared_distances,
        backend="tensorized",
    )
    # GeomLoss turns gradients on and leaves them on; autocast would round its products to 16 bits.
    gradients = torch.is_grad_enabled()
    with torch.autocast(x.device.type, enabled=False), torch.set_grad_enabled(gradients):
        divergence: Tensor = loss(x, y)
    return divergence if gradients else divergence.detach()


def _half_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the costs |x - y|² / 2 `(B, N, M)` of `(B, N, F)` and `(B, M, F)`, which are never negative."""
    squares = x.square().sum(2)[:, :, None] + y.square().sum(2)[:, None, :] - 2 * x @ y.transpose(1, 2)
    return squares.clamp_min(0) / 2
