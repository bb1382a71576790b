"""Partial optimal transport, which leaves the most distant images aside and attends to the worst-matched others."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation, joint_rows
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_NEGLIGIBLE = 1e-6
_STEPS, _CHECKED_EVERY = 50, 10
_CONVERGED = 3e-3
"""Largest change of a potential in one step, in units of the regularisation, below which the solver stops."""


class PartialTransport(Adaptation):
    """The cost of moving a share of the source's images onto the target's, and that of the worst-matched of them.

    Costs are squared distances C_ij, in units of their median over all pairs, through which no gradient flows: the
    penalty is invariant under scaling of all features. The plan P minimises <P, C> + epsilon sum P (log P - 1), where
    every source image can give at most 1 / N, every target image take at most 1 / M, and `mass` is moved in all
    (Benamou et al. 2015, arXiv:1412.5154). An image's match is the mean of the other domain's images with
    its row of the plan as weights, and r is the share of the image that is moved. The penalty is

        transport <P, C> / mass + matching mean of r |x - match|² + worst mean of the `top_k` largest r |x - match|²

    After Brauer et al. 2025 (arXiv:2511.18590), who align simulated with observed galaxies by a sum of these three
    terms; the weights and `top_k` are the defaults of their code. There, all the mass is moved, the matches are those
    of source images alone (here the mean over both domains), the last term takes an image's distance to its nearest
    neighbour, and costs have no unit. An epsilon of 0.05 then is far below the distances in thousands of dimensions,
    so that the plan pairs single images; here it keeps its meaning for every network. No gradient flows through
    the plan.

    With `mass` below 1, outliers and images of a class that is more frequent in one domain can stay unmatched; what is
    left aside are the most distant images, whatever the reason. Two batches of the same domain never match exactly
    in thousands of dimensions, so that the penalty also draws images towards the mean of their neighbours.

    Args:
        mass: share of the mass that is moved.
        epsilon: entropic regularisation in units of the median squared distance.
        top_k: number of worst-matched images.
        transport: weight of the transport cost.
        matching: weight of the mean squared distance to the matches.
        worst: weight of the mean over the worst-matched images.

    Raises UserError unless 0 < mass <= 1, epsilon is positive, `top_k` at least 1 and the weights are finite numbers of
    at least 0.
    """

    def __init__(
        self,
        mass: float = 0.9,
        epsilon: float = 0.05,
        top_k: int = 5,
        transport: float = 0.25,
        matching: float = 0.5,
        worst: float = 0.05,
    ) -> None:
        super().__init__()
        if not 0 < mass <= 1:
            raise UserError(f"mass is {mass}, expected 0 < mass <= 1 (conf/adaptation/)")
        if not 0 < epsilon < math.inf:
            raise UserError(f"epsilon is {epsilon}, expected a positive number (conf/adaptation/)")
        if top_k < 1:
            raise UserError(f"top_k is {top_k}, expected at least 1 (conf/adaptation/)")
        for name, weight in {"transport": transport, "matching": matching, "worst": worst}.items():
            if not 0 <= weight < math.inf:
                raise UserError(
                    f"{name} is {weight}, expected a finite number of at least 0 (conf/adaptation/)"
                )
        self.mass, self.epsilon, self.top_k = mass, epsilon, top_k
        self.transport, self.matching, self.worst = transport, matching, worst

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        The result has at least float32 precision. Raises ValueError unless both are matrices of at least one row with
        the same F.
        """
        rows, _ = joint_rows(source.features, target.features)
        # Autocast would round the products to 16 bits.
        with torch.autocast(rows.device.type, enabled=False):
            # The costs do not depend on the origin, but their rounding errors do.
            centred = rows - rows.detach().mean(0)
            x, y = centred.tensor_split([len(source.features)])
            costs = _squared_distances(x, y)
            unit = _unit(costs.detach())
            costs = costs / unit
            plan = partial_plan(costs.detach(), self.mass, self.epsilon)
            distances = [_to_matches(*sides) / unit for sides in ((x, y, plan), (y, x, plan.T))]
        worst = [part.topk(min(self.top_k, len(part))).values.mean() for part in distances]
        mean_matching, mean_worst = (distances[0].mean() + distances[1].mean()) / 2, (worst[0] + worst[1]) / 2
        transport = (plan * costs).sum() / self.mass
        return self.transport * transport + self.matching * mean_matching + self.worst * mean_worst


def _unit(costs: Tensor) -> Tensor:
    """Return the median (scalar) of the costs `(N, M)`, their mean if most of them are 0, or 1 if all of them are."""
    median, mean = costs.median(), costs.mean()
    unit = torch.where(median > _NEGLIGIBLE * mean, median, mean)
    return torch.where(unit > 0, unit, torch.ones_like(unit))


@torch.no_grad()
def partial_plan(costs: Tensor, mass: float, epsilon: float) -> Tensor:
    """Return the plan `(N, M)` that moves `mass` at these costs `(N, M)`; see `PartialTransport`.

    The plan is exp(f_i + g_j + level - C_ij / epsilon), with a potential f_i <= 0 that is below 0 only if an image
    gives all that it has, g_j in the same way, and a level that makes the sum `mass`. Each of the three is found in
    turn for the others as they are, in logarithms, so that nothing underflows. If all the mass is moved, every image
    gives all that it has, whatever its potential.
    """
    scaled = costs / -epsilon
    most_given, most_taken = -math.log(costs.shape[0]), -math.log(costs.shape[1])
    given, taken = costs.new_zeros(costs.shape[0], 1), costs.new_zeros(1, costs.shape[1])
    level = costs.new_zeros(())
    largest = 0.0 if mass < 1 else math.inf
    for step in range(_STEPS):
        before = given + level
        given = (most_given - (scaled + (taken + level)).logsumexp(1, keepdim=True)).clamp_max(largest)
        partly = scaled + given
        taken = (most_taken - (partly + level).logsumexp(0, keepdim=True)).clamp_max(largest)
        level = math.log(mass) - (partly + taken).logsumexp((0, 1))
        if step % _CHECKED_EVERY == 0 and bool((given + level - before).abs().max() < _CONVERGED):
            break
    return (scaled + given + taken + level).exp()


def _to_matches(rows: Tensor, others: Tensor, plan: Tensor) -> Tensor:
    """Return the squared distances `(N,)` of rows `(N, F)` to their matches, times the shares that are moved."""
    moved = plan.sum(1)
    least = torch.finfo(plan.dtype).tiny
    matches = (plan / moved.clamp_min(least)[:, None]) @ others
    return len(rows) * moved * (rows - matches).square().sum(1)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return |x_i - y_j|² `(N, M)` of `(N, F)` and `(M, F)`, which is never negative."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return squares.clamp_min(0)
