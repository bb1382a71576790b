"""The weight of the penalty relative to the classification loss over the course of training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mergershift.core.errors import UserError


class Weighting(nn.Module):
    """A rule that combines the classification loss and the penalty into one loss.

    It may have weights of its own, which are trained together with the network's.
    """

    depends_on_progress = True
    """Whether the loss depends on `progress`, and so on the number of epochs of the whole training."""

    def weight(self, progress: float) -> Tensor:
        """Return the penalty's weight relative to that of the classification loss (scalar) at `progress`.

        `progress` is 0 at the first step and 1 at the last. Raises ValueError if it is outside this range.
        """
        raise NotImplementedError

    def forward(self, classification: Tensor, penalty: Tensor, progress: float) -> Tensor:
        """Return the loss to be minimised (scalar), classification + weight x penalty."""
        return classification + self.weight(progress).to(penalty) * penalty


class Fixed(Weighting):
    """A constant weight `trade_off`; raises UserError if it is negative or not finite."""

    depends_on_progress = False

    def __init__(self, trade_off: float) -> None:
        super().__init__()
        self.trade_off = _checked_trade_off(trade_off)

    def weight(self, progress: float) -> Tensor:
        """Return the trade-off (scalar)."""
        _check_progress(progress)
        return torch.tensor(self.trade_off, dtype=torch.float64)


class Ramp(Weighting):
    """A weight that grows from 0 to nearly `trade_off`, trade_off (2 / (1 + exp(-gamma p)) - 1) at progress p.

    This is the schedule of Ganin et al. 2016 (arXiv:1505.07818), section 5.2.2: features at the beginning of
    training are not worth aligning. Raises UserError if the trade-off is negative, gamma is not positive or either
    is not finite.
    """

    def __init__(self, trade_off: float, gamma: float = 10.0) -> None:
        super().__init__()
        self.trade_off = _checked_trade_off(trade_off)
        if not 0 < gamma < math.inf:
            raise UserError(f"gamma is {gamma}, expected a finite positive number (conf/adaptation/)")
        self.gamma = gamma

    def weight(self, progress: float) -> Tensor:
        """Return the weight (scalar) at `progress`."""
        _check_progress(progress)
        # tanh(x / 2) equals the published 2 / (1 + exp(-x)) - 1 and cannot overflow.
        return torch.tensor(self.trade_off * math.tanh(self.gamma * progress / 2), dtype=torch.float64)


class Learned(Weighting):
    """Weights learned together with the network: classification / (2 e1²) + penalty / (2 e2²) + log(e1 e2).

    This is the loss of Pandya et al. 2025 (SIDDA, arXiv:2501.14048), after Kendall et al. 2018
    (arXiv:1705.07115). At equilibrium, e1² equals the classification loss and e2² the penalty, so that only
    relative changes of each loss matter, whatever its units. As in the authors' code, both start at 1, e1 stays
    above 0.001 and e2 above e1 / 4, so that a vanishing loss does not drive the sum to minus infinity and the
    penalty's relative weight never exceeds 16. Training starts with the classification loss alone, here for a
    share of the training instead of a number of epochs.

    The authors train at a learning rate of 0.01, at which e1 and e2 follow the losses. At the rate of 0.001 of a
    network here, they would hardly move in a few hundred steps; e1 and e2 are therefore 1 + speed x a learned
    number.

    Args:
        warm_up: share of the training during which the penalty is ignored.
        speed: factor by which e1 and e2 are learned faster than the network.

    Raises UserError unless 0 <= warm_up < 1 and the speed is positive and finite.
    """

    least, least_ratio = 1e-3, 0.25

    def __init__(self, warm_up: float = 0.1, speed: float = 10.0) -> None:
        super().__init__()
        if not 0 <= warm_up < 1:
            raise UserError(f"warm_up is {warm_up}, expected 0 <= warm_up < 1 (conf/adaptation/)")
        if not 0 < speed < math.inf:
            raise UserError(f"speed is {speed}, expected a finite positive number (conf/adaptation/)")
        self.warm_up, self.speed = warm_up, speed
        self.moved = nn.Parameter(torch.zeros(2))

    def weight(self, progress: float) -> Tensor:
        """Return e1² / e2² (scalar), or 0 during the warm-up."""
        _check_progress(progress)
        if progress < self.warm_up:
            return torch.zeros((), dtype=torch.float64)
        first, second = self._bounded().cpu().double()
        return (first / second).square()

    def forward(self, classification: Tensor, penalty: Tensor, progress: float) -> Tensor:
        """Return the loss to be minimised (scalar), which may be negative.

        During the warm-up, it is the classification loss.
        """
        _check_progress(progress)
        if progress < self.warm_up:
            return classification
        with torch.no_grad():
            self.moved.copy_((self._bounded() - 1) / self.speed)
        first, second = 1 + self.speed * self.moved
        return classification / (2 * first**2) + penalty / (2 * second**2) + torch.log(first * second)

    @torch.no_grad()
    def _bounded(self) -> Tensor:
        """Return e1 and e2 `(2,)`, clamped to their bounds."""
        first, second = 1 + self.speed * self.moved
        first = first.clamp_min(self.least)
        return torch.stack([first, torch.maximum(second, self.least_ratio * first)])


def _checked_trade_off(trade_off: float) -> float:
    if not 0 <= trade_off < math.inf:
        raise UserError(
            f"trade_off is {trade_off}, expected a finite number of at least 0 (conf/adaptation/)"
        )
    return trade_off


def _check_progress(progress: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}, expected a number from 0 to 1")
