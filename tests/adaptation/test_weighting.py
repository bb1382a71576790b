import math

import hydra.utils
import pytest
import torch

from mergershift.adaptation.weighting import Fixed, Ramp
from mergershift.errors import UserError


def test_fixed_stays() -> None:
    assert [Fixed(0.3).weight(progress).item() for progress in (0.0, 0.5, 1.0)] == [0.3] * 3


def test_ramp_follows_the_published_formula() -> None:
    ramp = Ramp(trade_off=2.0, gamma=10)
    for progress in (0.0, 0.1, 0.37, 1.0):
        assert ramp.weight(progress).item() == pytest.approx(
            2 * (2 / (1 + math.exp(-10 * progress)) - 1), abs=1e-12
        )
    assert ramp.weight(0.0) == 0


def test_ramp_grows_and_survives_a_steep_gamma() -> None:
    ramp = Ramp(trade_off=1.0, gamma=5.0)
    values = [ramp.weight(step / 20).item() for step in range(21)]
    assert values == sorted(values)
    assert values[-1] < 1
    assert Ramp(1.0, gamma=1e6).weight(1.0) == 1


def test_joins_classification_and_penalty() -> None:
    classification, penalty = torch.tensor(0.7), torch.tensor(2.0, requires_grad=True)
    loss = Fixed(0.25)(classification, penalty, progress=0.5)
    assert loss.dtype == penalty.dtype
    assert loss.item() == pytest.approx(0.7 + 0.25 * 2.0)
    (gradient,) = torch.autograd.grad(loss, penalty)
    assert gradient.item() == 0.25


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
@pytest.mark.parametrize("weighting", [Fixed(1.0), Ramp(1.0)])
def test_progress_outside_the_training(weighting: Fixed | Ramp, progress: float) -> None:
    with pytest.raises(ValueError, match="progress is"):
        weighting.weight(progress)


@pytest.mark.parametrize("trade_off", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Fixed, Ramp])
def test_wrong_trade_off_is_the_users_mistake(kind: type, trade_off: float) -> None:
    with pytest.raises(UserError, match="trade_off is"):
        kind(trade_off)


def test_wrong_gamma_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="gamma is 0"):
        Ramp(1.0, gamma=0)


def test_stays_callable_when_made_within_a_larger_configuration() -> None:
    # Hydra would turn a dataclass instance inside a nested configuration back into a configuration.
    kind = "mergershift.adaptation.weighting.Ramp"
    made = hydra.utils.instantiate({"weighting": {"_target_": kind, "trade_off": 1.0}})
    assert made.weighting.weight(0.0) == 0
