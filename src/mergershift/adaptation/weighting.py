"""How much the penalty counts beside the classification loss, by the progress of the training."""

from __future__ import annotations

import math

from mergershift.errors import UserError


class Fixed:
    """The same weight from the first step to the last; raises UserError on a negative one."""

    def __init__(self, trade_off: float) -> None:
        self.trade_off = _checked_trade_off(trade_off)

    def __call__(self, progress: float) -> float:
        """Return the weight at `progress`, 0 at the first step and 1 at the last."""
        _check_progress(progress)
        return self.trade_off


class Ramp:
    """A weight that grows from 0 to nearly `trade_off`: trade_off (2 / (1 + exp(-gamma p)) - 1).

    Ganin et al. 2016 (arXiv:1505.07818), section 5.2.2: early features are not worth aligning. Raises
    UserError on a negative trade-off and on a gamma that is not positive.
    """

    def __init__(self, trade_off: float, gamma: float = 10.0) -> None:
        self.trade_off = _checked_trade_off(trade_off)
        if not 0 < gamma < math.inf:
            raise UserError(f"gamma is {gamma}, expected a finite positive number (conf/adaptation/)")
        self.gamma = gamma

    def __call__(self, progress: float) -> float:
        """Return the weight at `progress`, 0 at the first step and 1 at the last."""
        _check_progress(progress)
        # tanh(x / 2) is the published 2 / (1 + exp(-x)) - 1 and cannot overflow.
        return self.trade_off * math.tanh(self.gamma * progress / 2)


def _checked_trade_off(trade_off: float) -> float:
    if not 0 <= trade_off < math.inf:
        raise UserError(
            f"trade_off is {trade_off}, expected a finite number of at least 0 (conf/adaptation/)"
        )
    return trade_off


def _check_progress(progress: float) -> None:
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is {progress}, expected 0 to 1")
