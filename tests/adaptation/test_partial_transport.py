from typing import Any

import numpy as np
import ot
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from torch import Tensor

from mergershift.adaptation.partial_transport import PartialTransport, partial_plan
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def penalty_of(source: Tensor, target: Tensor, **settings: Any) -> Tensor:
    return PartialTransport(**settings)(activations(source), activations(target), LABELS)


def sample(size: int = 300, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(13, size, dtype=dtype), 1.3 * torch.randn(15, size, dtype=dtype) + 0.4


def solved(source: Tensor, target: Tensor, mass: float, epsilon: float) -> tuple[Any, Any]:
    """Costs in units of their median, and the plan by POT's projections."""
    costs = ot.dist(source.double().numpy(), target.double().numpy())
    costs = costs / np.median(costs)
    first, second = (np.full(size, 1 / size) for size in costs.shape)
    plan = ot.partial.entropic_partial_wasserstein(
        first, second, costs, epsilon, m=min(mass, 1 - 1e-9), numItermax=3000, stopThr=1e-12
    )
    return costs, plan


def reference(source: Tensor, target: Tensor) -> float:
    """The penalty at the default weights, image by image, from POT's plan."""
    costs, plan = solved(source, target, mass=0.9, epsilon=0.05)
    unit = np.median(ot.dist(source.double().numpy(), target.double().numpy()))
    means, worst = [], []
    for x, y, moved in ((source, target, plan), (target, source, plan.T)):
        found = []
        for row, weights in zip(x.double().numpy(), moved, strict=True):
            match = np.average(y.double().numpy(), axis=0, weights=weights)
            found.append(len(x) * weights.sum() * ((row - match) ** 2).sum() / unit)
        means.append(np.mean(found))
        worst.append(np.mean(sorted(found)[-5:]))
    return float(0.25 * (plan * costs).sum() / 0.9 + 0.5 * np.mean(means) + 0.05 * np.mean(worst))


@pytest.mark.parametrize("mass", [0.3, 0.9, 1.0])
def test_plan_equals_another_librarys(mass: float) -> None:
    costs, plan = solved(*sample(), mass, 0.1)
    ours = partial_plan(torch.from_numpy(costs), mass, 0.1).numpy()
    assert ours.sum() == pytest.approx(mass)
    np.testing.assert_allclose(ours, plan, atol=2e-4 / 15)
    assert ours.sum(1).max() < 1 / 13 + 1e-3
    assert ours.sum(0).max() < 1 / 15 + 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_definition(dtype: torch.dtype) -> None:
    source, target = sample(dtype=dtype)
    value = penalty_of(source, target)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target), rel=2e-3)


def test_gradient_is_that_of_the_costs_at_a_constant_plan() -> None:
    source, target = sample(size=4)
    rows = source.clone().requires_grad_()
    penalty_of(rows, target, matching=0.0, worst=0.0, transport=0.9).backward()
    costs = torch.cdist(source, target).square()
    unit = costs.median()
    plan = partial_plan(costs / unit, 0.9, 0.05)
    expected = 2 * (plan.sum(1, keepdim=True) * source - plan @ target) / unit
    torch.testing.assert_close(rows.grad, expected)


def test_an_outlier_is_left_aside() -> None:
    source, target = sample()
    source[3] += 40
    costs = torch.cdist(source, target).square()
    moved = [partial_plan(costs / costs.median(), mass, 0.05).sum(1)[3].item() for mass in (0.8, 1.0)]
    assert moved[0] < 1e-6
    assert moved[1] == pytest.approx(1 / 13, rel=0.05)
    rows = source.clone().requires_grad_()
    penalty_of(rows, target, mass=0.8).backward()
    assert rows.grad is not None
    pulls = rows.grad.norm(dim=1)
    assert pulls[3] < 1e-3 * pulls[:3].mean()


def test_the_worst_of_all_images_are_all_images() -> None:
    source, target = sample()
    mean = penalty_of(source, target, transport=0.0, matching=1.0, worst=0.0).item()
    worst = [
        penalty_of(source, target, top_k=count, transport=0.0, matching=0.0, worst=1.0).item()
        for count in (1, 5, 100)
    ]
    assert worst == sorted(worst, reverse=True)
    assert worst[0] > 1.05 * mean
    assert worst[2] == pytest.approx(mean)


def test_symmetric() -> None:
    source, target = sample(dtype=torch.float64)
    assert penalty_of(source, target).item() == pytest.approx(penalty_of(target, source).item(), rel=1e-4)


def test_zero_with_no_gradient_for_equal_batches_of_the_networks_width() -> None:
    torch.manual_seed(0)
    features = (torch.randn(64, 2592).relu() + 100).requires_grad_()
    value = penalty_of(features, features.detach().flip(0))
    value.backward()
    assert abs(value.item()) < 1e-4
    assert features.grad is not None
    assert features.grad.abs().max() < 1e-6


@pytest.mark.parametrize("number", [0.0, 3.7])
def test_finite_if_all_features_are_equal(number: float) -> None:
    features = torch.full((8, 100), number, requires_grad=True)
    value = penalty_of(features, features.detach().clone())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_invariant_under_scaling_and_finite_at_extreme_values(scale: float) -> None:
    source, target = sample(dtype=torch.float32)
    rows = (scale * source).requires_grad_()
    value = penalty_of(rows, scale * target)
    value.backward()
    assert value.item() == pytest.approx(penalty_of(source, target).item(), rel=1e-4)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert rows.grad.any()


def test_full_precision_within_autocast() -> None:
    source, target = sample(64, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = penalty_of(source, target)
        halved = penalty_of(source.bfloat16(), target.bfloat16())
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == penalty_of(source, target).item()


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        penalty_of(torch.zeros(source), torch.zeros(target))


@pytest.mark.parametrize(
    "settings",
    [{"mass": 0.0}, {"mass": 1.1}, {"epsilon": 0.0}, {"top_k": 0}, {"worst": -1.0}, {"matching": np.nan}],
)
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        PartialTransport(**settings)


def test_bridges_a_shift_that_source_only_fails_on() -> None:
    settings: dict[str, Any] = {"steps": 150, "batch": 64}
    assert unadapted(nearer, 2, **settings) < 0.8
    assert adapt(PartialTransport(), Ramp(1.0), nearer(2), 2, **settings) > 0.9
