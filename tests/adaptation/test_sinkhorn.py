from typing import Any

import numpy as np
import ot
import pytest
import torch
from adaptation.synthetic import adapt, clouds, unadapted
from torch import Tensor

from mergershift.adaptation.sinkhorn import Sinkhorn, sinkhorn
from mergershift.adaptation.weighting import Fixed
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def solved(x: Tensor, y: Tensor, blur: float) -> ot.utils.OTResult:
    """POT's solution, whose value includes blur² KL(P, a ⊗ b) as ours does."""
    cost = ot.dist(x.double().numpy(), y.double().numpy()) / 2
    return ot.solve(cost, reg=blur**2, reg_type="KL", max_iter=20_000, tol=1e-5)


def reference(source: Tensor, target: Tensor, blur: float) -> float:
    own = solved(source, source, blur).value + solved(target, target, blur).value
    return float(solved(source, target, blur).value - own / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "blur"), [(2, 0.3), (2, 1.0), (300, 8.0), (300, 25.0)])
def test_equals_another_library(size: int, blur: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    source, target = torch.randn(20, size, dtype=dtype), 1.3 * torch.randn(30, size, dtype=dtype) + 0.4
    value = sinkhorn(source, target, blur, scaling=0.99)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target, blur), rel=2e-3)


def test_divergence_of_two_points_is_half_their_squared_distance() -> None:
    assert sinkhorn(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), 0.5, 0.5).item() == pytest.approx(
        12.5
    )


def test_the_default_scaling_is_close_at_the_networks_width() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(32, 2592).relu(), (1.2 * torch.randn(32, 2592) + 0.2).relu()
    penalty = Sinkhorn()
    unit = 2592**0.5
    exact = reference(source / unit, target / unit, penalty.blur)
    assert penalty(activations(source), activations(target), LABELS).item() == pytest.approx(exact, rel=1e-3)


def test_distance_per_feature_does_not_depend_on_their_number() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(10, 4), torch.randn(12, 4) + 1
    wide = [activations(features.repeat(1, 9)) for features in (source, target)]
    narrow = [activations(features) for features in (source, target)]
    assert Sinkhorn()(*wide, LABELS).item() == pytest.approx(Sinkhorn()(*narrow, LABELS).item(), rel=1e-5)
    plain = Sinkhorn(blur=1.0, per_feature=False)
    halved = Sinkhorn(blur=0.5, per_feature=True)  # four features: the unit is 2
    assert plain(*narrow, LABELS).item() == pytest.approx(4 * halved(*narrow, LABELS).item(), rel=1e-4)


def test_symmetric_and_positive() -> None:
    torch.manual_seed(1)
    source, target = torch.randn(16, 5), torch.randn(24, 5) + 0.5
    value = sinkhorn(source, target, 0.5, 0.5).item()
    assert value > 0
    # The potentials of one domain are updated before those of the other.
    assert value == pytest.approx(sinkhorn(target, source, 0.5, 0.5).item(), rel=1e-3)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_zero_with_a_zero_gradient_for_equal_batches(offset: float) -> None:
    torch.manual_seed(0)
    features = (torch.randn(64, 2592).relu() + offset).requires_grad_()
    penalty = Sinkhorn()
    value = penalty(activations(features), activations(features.detach().clone()), LABELS)
    assert abs(value.item()) < 1e-5
    value.backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert features.grad is not None
    assert features.grad.abs().max() < 1e-5


def test_finite_if_all_features_have_collapsed_to_one_point() -> None:
    features = torch.full((8, 100), 3.7, requires_grad=True)
    value = sinkhorn(features, features.detach().clone(), 0.5, 0.5)
    value.backward()
    assert value.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_gradient() -> None:
    """The gradient is that of the exact divergence, which many solver steps and a large blur approximate."""
    torch.manual_seed(1)
    source = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda s, t: sinkhorn(s, t, blur=6.0, scaling=0.99), (source, target), atol=1e-5, rtol=1e-3
    )


def test_gradient_equals_the_one_from_the_plans_of_another_library() -> None:
    torch.manual_seed(1)
    source, target = torch.randn(12, 3, dtype=torch.float64), torch.randn(15, 3, dtype=torch.float64) + 1
    rows = source.clone().requires_grad_()
    sinkhorn(rows, target, blur=1.0, scaling=0.99).backward()

    def pull(x: Tensor, y: Tensor) -> Tensor:
        plan = torch.from_numpy(solved(x, y, 1.0).plan)
        return plan.sum(1, keepdim=True) * x - plan @ y

    torch.testing.assert_close(rows.grad, pull(source, target) - pull(source, source), atol=1e-3, rtol=1e-2)


def test_full_precision_within_autocast() -> None:
    torch.manual_seed(2)
    source, target = torch.randn(16, 64), torch.randn(16, 64) + 0.2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = sinkhorn(source, target, 2.0, 0.5)
        halved = sinkhorn(source.bfloat16(), target.bfloat16(), 2.0, 0.5)
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == sinkhorn(source, target, 2.0, 0.5).item()


@pytest.mark.parametrize("gradients", [False, True])
def test_restores_the_gradient_mode(gradients: bool) -> None:
    features = torch.randn(4, 3, requires_grad=True)
    with torch.set_grad_enabled(gradients):
        value = sinkhorn(features, torch.randn(5, 3), 0.5, 0.5)
        assert torch.is_grad_enabled() == gradients
    assert value.requires_grad == gradients


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        Sinkhorn()(activations(torch.zeros(source)), activations(torch.zeros(target)), LABELS)


@pytest.mark.parametrize(
    "settings", [{"blur": 0.0}, {"blur": np.inf}, {"blur": np.nan}, {"scaling": 0.0}, {"scaling": 1.0}]
)
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        Sinkhorn(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(clouds, seed) < 0.7
    assert adapt(Sinkhorn(blur=0.1), Fixed(1.0), clouds(seed), seed) > 0.78
