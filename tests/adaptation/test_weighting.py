import math

import hydra.utils
import pytest
import torch

from mergershift.adaptation.weighting import Fixed, Learned, Ramp, Weighting
from mergershift.core.errors import UserError


def test_fixed_is_constant() -> None:
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


def test_combines_classification_loss_and_penalty() -> None:
    classification, penalty = torch.tensor(0.7), torch.tensor(2.0, requires_grad=True)
    loss = Fixed(0.25)(classification, penalty, progress=0.5)
    assert loss.dtype == penalty.dtype
    assert loss.item() == pytest.approx(0.7 + 0.25 * 2.0)
    (gradient,) = torch.autograd.grad(loss, penalty)
    assert gradient.item() == 0.25


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
@pytest.mark.parametrize("weighting", [Fixed(1.0), Ramp(1.0), Learned()])
def test_progress_outside_its_range_is_refused(weighting: Weighting, progress: float) -> None:
    with pytest.raises(ValueError, match="progress is"):
        weighting.weight(progress)
    with pytest.raises(ValueError, match="progress is"):
        weighting(torch.tensor(1.0), torch.tensor(1.0), progress)


@pytest.mark.parametrize("trade_off", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Fixed, Ramp])
def test_wrong_trade_off_raises_a_user_error(kind: type, trade_off: float) -> None:
    with pytest.raises(UserError, match="trade_off is"):
        kind(trade_off)


def test_wrong_gamma_raises_a_user_error() -> None:
    with pytest.raises(UserError, match="gamma is 0"):
        Ramp(1.0, gamma=0)


def test_stays_callable_when_instantiated_within_a_larger_configuration() -> None:
    # Hydra would convert a dataclass instance inside a nested configuration back to a configuration.
    kind = "mergershift.adaptation.weighting.Ramp"
    made = hydra.utils.instantiate({"weighting": {"_target_": kind, "trade_off": 1.0}})
    assert made.weighting.weight(0.0) == 0


def settled(
    weighting: Learned, classification: float, penalty: float, steps: int = 500, lr: float = 1e-3
) -> list[float]:
    """The losses while only the weights are trained, with two constant losses."""
    optimiser = torch.optim.AdamW(weighting.parameters(), lr=lr, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = weighting(torch.tensor(classification), torch.tensor(penalty), progress=1.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_learned_starts_with_equal_weights() -> None:
    weighting = Learned(warm_up=0.1)
    loss = weighting(torch.tensor(0.7), torch.tensor(2.0), progress=0.1)
    assert loss.item() == pytest.approx(0.35 + 1.0)
    assert weighting.weight(0.1).item() == 1


def test_learned_uses_the_classification_loss_alone_during_the_warm_up() -> None:
    weighting = Learned(warm_up=0.3)
    classification, penalty = torch.tensor(0.7, requires_grad=True), torch.tensor(torch.nan)
    loss = weighting(classification, penalty, progress=0.29)
    loss.backward()
    assert loss.item() == classification.item()
    assert classification.grad is not None
    assert classification.grad.item() == 1
    assert weighting.moved.grad is None
    assert weighting.weight(0.29).item() == 0


def test_learned_converges_to_the_minimum_of_the_formula() -> None:
    weighting = Learned()
    losses = settled(weighting, 0.5, 2.0)
    # With e1² = classification and e2² = penalty, the loss is 1 / 2 + 1 / 2 + log(0.5 x 2) / 2.
    assert losses[-1] == pytest.approx(1 + math.log(0.5 * 2.0) / 2, abs=1e-4)
    assert weighting.weight(1.0).item() == pytest.approx(0.5 / 2.0, rel=1e-2)
    assert losses[-1] < losses[0]


def test_learned_gradients_are_the_weights() -> None:
    weighting = Learned()
    settled(weighting, 0.5, 2.0, steps=50)
    classification, penalty = (torch.tensor(loss, requires_grad=True) for loss in (0.5, 2.0))
    weighting(classification, penalty, progress=1.0).backward()
    assert penalty.grad is not None
    assert classification.grad is not None
    ratio = penalty.grad.item() / classification.grad.item()
    assert ratio == pytest.approx(weighting.weight(1.0).item(), rel=1e-5)
    first, second = 1 + weighting.speed * weighting.moved.detach()
    assert penalty.grad is not None
    assert penalty.grad.item() == pytest.approx(1 / (2 * second.item() ** 2), rel=1e-5)
    assert classification.grad is not None
    assert classification.grad.item() == pytest.approx(1 / (2 * first.item() ** 2), rel=1e-5)


@pytest.mark.parametrize(("classification", "penalty"), [(0.0, 0.0), (0.5, 0.0), (0.5, -1e-3), (0.0, 0.5)])
def test_learned_is_bounded_if_a_loss_vanishes(classification: float, penalty: float) -> None:
    weighting = Learned()
    losses = settled(weighting, classification, penalty, lr=1e-2)
    assert min(losses) >= math.log(1e-3 * 0.25e-3) - 1e-3
    assert all(map(math.isfinite, losses))
    assert 0 <= weighting.weight(1.0).item() <= 16 + 1e-3


def test_learned_leaves_its_bounds_again() -> None:
    weighting = Learned()
    settled(weighting, 0.5, 0.0, lr=1e-2)
    assert weighting.weight(1.0).item() == pytest.approx(16, rel=1e-3)
    settled(weighting, 0.5, 0.5, lr=1e-2)
    assert weighting.weight(1.0).item() == pytest.approx(1, rel=0.05)


def test_learned_speed_multiplies_the_optimisers_rate() -> None:
    slow, quick = Learned(speed=1.0), Learned(speed=10.0)
    settled(slow, 0.5, 2.0, steps=1, lr=1e-2)
    settled(quick, 0.5, 2.0, steps=1, lr=1e-3)
    assert slow.weight(1.0).item() == pytest.approx(quick.weight(1.0).item(), rel=1e-4)
    assert slow.weight(1.0).item() != 1


@pytest.mark.parametrize(
    "settings", [{"warm_up": 1.0}, {"warm_up": -0.1}, {"speed": 0.0}, {"speed": math.inf}]
)
def test_wrong_learned_settings_raise_a_user_error(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        Learned(**settings)
