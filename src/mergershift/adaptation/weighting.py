"""How much the penalty counts beside the classification loss, by the progress of the training."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mergershift.errors import UserError


class Weighting(nn.Module):
    """Joins the classification loss and the penalty; may hold weights of its own, trained with the network's."""

    def weight(self, progress: float) -> Tensor:
        """Return the penalty's weight relative to the classification's (scalar) at `progress`.

        `progress` is 0 at the first step and 1 at the last; raises ValueError outside.
        """
        raise NotImplementedError

    def forward(self, classification: Tensor, penalty: Tensor, progress: float) -> Tensor:
        """Return the loss to minimise (scalar): classification + weight x penalty."""
        return classification + self.weight(progress).to(penalty) * penalty


class Fixed(Weighting):
    """The same weight from the first step to the last; raises UserError on a negative one."""

    def __init__(self, trade_off: float) -> None:
        super().__init__()
        self.trade_off = _checked_trade_off(trade_off)

    def weight(self, progress: float) -> Tensor:
        """Return the trade-off (scalar)."""
        _check_progress(progress)
        return torch.tensor(self.trade_off, dtype=torch.float64)


class Ramp(Weighting):
    """A weight that grows from 0 to nearly `trade_off`: trade_off (2 / (1 + exp(-gamma p)) - 1).

    Ganin et al. 2016 (arXiv:1505.07818), section 5.2.2: early features are not worth aligning. Raises
    UserError on a negative trade-off and on a gamma that is not positive.
    """

    def __init__(self, trade_off: float, gamma: float = 10.0) -> None:
        super().__init__()
        self.trade_off = _checked_trade_off(trade_off)
        if not 0 < gamma < math.inf:
            raise UserError(f"gamma is {gamma}, expected a finite positive number (conf/adaptation/)")
        self.gamma = gamma

    def weight(self, progress: float) -> Tensor:
        """Return the ramp (scalar) at `progress`."""
        _check_progress(progress)
        # tanh(x / 2) is the published 2 / (1 + exp(-x)) - 1 and cannot overflow.
        return torch.tensor(self.trade_off * math.tanh(self.gamma * progress / 2), dtype=torch.float64)


def _checked_trade_off(trade_off: float) -> float:
    if not 0 <= trade_off < math.inf:
        raise UserError(
            f"trade_off is {trade_off}, expected a finite number of at least 0 (conf/adaptation/)"
        )
    return trade_off


def _check_progress(progress: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}, expected 0 to 1")
