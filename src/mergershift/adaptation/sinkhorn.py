"""Sinkhorn divergence between the features of two domains: the cost of transporting one onto the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_ACCURACY = 0.03
"""Largest relative error of the plan's marginals."""
_CHECKED = 5
"""Number of steps between two checks of the accuracy."""
_MOST_STEPS = 500


class Sinkhorn(Adaptation):
    """The debiased Sinkhorn divergence with the cost |x - y|² / 2.

    The divergence is OT(s, t) - OT(s, s) / 2 - OT(t, t) / 2, with
    OT(a, b) = min over plans P of <P, cost> + blur² KL(P, a ⊗ b), after Feydy et al. 2019 (arXiv:1810.08278),
    eq. 3. It is solved until the plan's marginals are right to 3 %, with a blur that falls step by step from the
    largest distance. The gradient is then within 1 % of the exact one; a single step at the last blur, as in GeomLoss,
    leaves a third of it wrong at the same scaling. Other forms use the cost |x - y|² without the factor 1/2, or omit
    the entropy term from OT; both rescale the trade-off, and the second also moves the minimum.

    In thousands of dimensions no two images are close, and a blur far below their distances matches individual
    images: even two batches of the same domain then seem far away from each other. The default blur is half the
    typical distance, which is about 1 per feature after batch normalisation; it preserves the difference between
    the domains and suppresses most of this sampling noise.

    Args:
        blur: length scale below which differences are ignored, in units of the distances.
        scaling: ratio of successive blurs on the way from the largest distance down to `blur`, where the solution
            is iterated until it is exact; it only affects the time that this takes.
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
    # The distance between two rows is at most twice the norm of the longest row.
    furthest = 2 * float(torch.cat([x, y]).detach().norm(dim=1).max())
    if not math.isfinite(furthest):
        return (x.sum() + y.sum()) * math.nan  # diverged, which the training reports at the end of the epoch
    blurs = [blur]
    while blurs[0] < furthest:
        blurs.insert(0, blurs[0] / scaling)
    with torch.autocast(x.device.type, enabled=False):  # it would round the products to 16 bits
        between, of_source, of_target = (
            half_squared_distances(a, b.detach()) for a, b in ((x, y), (x, x), (y, y))
        )
        back = half_squared_distances(y, x.detach())
        with torch.no_grad():
            f, g = _potentials(between, blurs)
            p, q = _own_potential(of_source, blurs), _own_potential(of_target, blurs)
        eps = blur**2
        of_x = _soft_minimum(between, g, eps) - _soft_minimum(of_source, p, eps)
        of_y = _soft_minimum(back, f, eps) - _soft_minimum(of_target, q, eps)
        return of_x.mean() + of_y.mean()


def _potentials(costs: Tensor, blurs: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Solve the transport of costs `(N, M)` at the last of `blurs`; returns the potentials `(N,)` and `(M,)`.

    Potentials are updated in turn, once at each blur, and at the last one until they change by less than
    `_ACCURACY` blur². That bounds by how much the plan's marginals are wrong.
    """
    f = costs.new_zeros(costs.shape[0])
    g = _soft_minimum(costs.T, f, blurs[0] ** 2)
    for blur in blurs:
        f = _soft_minimum(costs, g, blur**2)
        g = _soft_minimum(costs.T, f, blur**2)
    for step in range(_MOST_STEPS):
        before, f = f, _soft_minimum(costs, g, blurs[-1] ** 2)
        g = _soft_minimum(costs.T, f, blurs[-1] ** 2)
        # Rarely, since a GPU has to finish its work for an answer.
        if step % _CHECKED == _CHECKED - 1 and _settled(f - before, blurs[-1]):
            break
    return f, g


def _own_potential(costs: Tensor, blurs: Sequence[float]) -> Tensor:
    """Solve the transport of rows onto themselves, for which averaged updates converge within a few steps."""
    p = costs.new_zeros(costs.shape[0])
    for blur in blurs:
        p = (p + _soft_minimum(costs, p, blur**2)) / 2
    for step in range(_MOST_STEPS):
        change = (_soft_minimum(costs, p, blurs[-1] ** 2) - p) / 2
        p = p + change
        if step % _CHECKED == _CHECKED - 1 and _settled(change, blurs[-1]):
            break
    return p


def _settled(change: Tensor, blur: float) -> bool:
    return float(change.abs().max()) < _ACCURACY * blur**2


def _soft_minimum(costs: Tensor, potential: Tensor, eps: float) -> Tensor:
    """Return -eps log mean exp((potential - costs) / eps) over the columns of costs `(N, M)`, `(N,)`."""
    exponents = (potential - costs) / eps
    return -eps * (exponents.logsumexp(1) - math.log(costs.shape[1]))


def half_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return the costs |x - y|² / 2 `(N, M)` of `(N, F)` and `(M, F)`, which are never negative."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None, :] - 2 * x @ y.T
    return squares.clamp_min(0) / 2
