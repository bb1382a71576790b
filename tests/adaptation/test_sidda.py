from typing import Any

import numpy as np
import ot
import pytest
import torch
from adaptation.synthetic import adapt, clouds, moons, unadapted
from torch import Tensor

from mergershift.adaptation.sidda import SIDDA
from mergershift.adaptation.sinkhorn import sinkhorn
from mergershift.adaptation.weighting import Learned
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def test_blur_is_a_share_of_the_largest_distance_between_the_domains() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(9, 5), torch.randn(7, 5) + 2
    distances = np.linalg.norm(source.numpy()[:, None] - target.numpy()[None], axis=2)
    assert SIDDA().blur(source, target) == pytest.approx(0.05 * distances.max(), rel=1e-5)
    assert SIDDA(blur_share=0.2).blur(source, target) == pytest.approx(0.2 * distances.max(), rel=1e-5)
    assert SIDDA(least_blur=9.0).blur(source, target) == 9.0


def test_is_the_sinkhorn_divergence_at_that_blur() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(9, 5), torch.randn(7, 5) + 2
    value = SIDDA(per_feature=False)(activations(source), activations(target), LABELS)
    blur = 0.05 * torch.cdist(source, target).max().item()
    assert value.item() == pytest.approx(sinkhorn(source, target, blur, 0.5).item(), rel=1e-6)
    # The blur follows the distances, so a change of unit only rescales the divergence.
    per_feature = SIDDA(per_feature=True)(activations(source), activations(target), LABELS)
    assert value.item() == pytest.approx(5 * per_feature.item(), rel=1e-3)


@pytest.mark.parametrize(("size", "spread"), [(32, 1.0), (600, 0.2)])
def test_the_gradient_at_the_default_settings_is_that_of_a_converged_solution(
    size: int, spread: float
) -> None:
    """The plans of another library, to 1e-6; features of a few dimensions with scatter converge the slowest."""
    torch.manual_seed(0)
    axes = torch.randn(8, size, dtype=torch.float64)
    source, target = (
        (torch.randn(48, 8, dtype=torch.float64) + shift) @ axes + spread * torch.randn(48, size).double()
        for shift in (0.0, 0.3)
    )
    rows = source.clone().requires_grad_()
    penalty = SIDDA()
    penalty(activations(rows), activations(target), LABELS).backward()
    x, y = source / size**0.5, target / size**0.5
    blur = penalty.blur(x, y)

    def pull(others: Tensor) -> Tensor:
        cost = ot.dist(x.numpy(), others.numpy()) / 2
        plan = torch.from_numpy(ot.solve(cost, reg=blur**2, reg_type="KL", max_iter=20_000, tol=1e-6).plan)
        return plan.sum(1, keepdim=True) * x - plan @ others

    expected = (pull(y) - pull(x)) / size**0.5
    assert rows.grad is not None
    assert (rows.grad - expected).norm() < 0.015 * expected.norm()
    assert (rows.grad - expected).abs().max() < 0.03 * expected.abs().max()


def test_symmetric_and_zero_for_equal_batches_with_a_finite_gradient() -> None:
    torch.manual_seed(1)
    source, target = torch.randn(16, 300, requires_grad=True), torch.randn(12, 300) + 1
    one = SIDDA()(activations(source), activations(target), LABELS)
    assert one.item() == pytest.approx(
        SIDDA()(activations(target), activations(source), LABELS).item(), rel=1e-4
    )
    equal = SIDDA()(activations(source), activations(source.detach().clone()), LABELS)
    assert abs(equal.item()) < 1e-5
    equal.backward()
    assert source.grad is not None
    assert torch.isfinite(source.grad).all()


def test_the_least_blur_is_used_if_all_features_have_collapsed_to_one_point() -> None:
    features = torch.full((8, 100), 3.7, requires_grad=True)
    value = SIDDA()(activations(features), activations(features.detach().clone()), LABELS)
    value.backward()
    assert value.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        SIDDA()(activations(torch.zeros(source)), activations(torch.zeros(target)), LABELS)


@pytest.mark.parametrize("settings", [{"blur_share": 0.0}, {"least_blur": -1.0}, {"scaling": 1.0}])
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        SIDDA(**settings)


@pytest.mark.slow
def test_bridges_a_shift_that_source_only_fails_on() -> None:
    assert unadapted(clouds, seed=0) < 0.7
    assert adapt(SIDDA(), Learned(), clouds(seed=0), seed=0) > 0.78


@pytest.mark.slow
def test_learns_rotated_moons() -> None:
    """The network learns the classes for a third of the training before it aligns the features."""
    assert unadapted(moons, seed=1, steps=300, batch_norm=True) < 0.8
    penalty, weighting = SIDDA(), Learned(warm_up=0.3)
    assert adapt(penalty, weighting, moons(seed=1), seed=1, steps=300, batch_norm=True) > 0.85
