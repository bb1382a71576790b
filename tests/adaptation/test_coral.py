import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, spread, unadapted
from torch import Tensor

from mergershift.adaptation.coral import CORAL, coral
from mergershift.adaptation.weighting import Fixed
from mergershift.networks import Activations


def reference(source: Tensor, target: Tensor) -> float:
    covariances = [np.cov(domain.double().numpy(), rowvar=False) for domain in (source, target)]
    return float(np.mean((covariances[0] - covariances[1]) ** 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "size", "scale"), [(9, 40, 1e-2), (60, 5, 1.0), (7, 3, 30.0)])
def test_mean_squared_difference_of_covariances(
    rows: int, size: int, scale: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    source = scale * torch.randn(rows, size, dtype=dtype)
    target = scale * (1.5 * torch.randn(rows + 4, size, dtype=dtype) + 7)
    value = coral(source, target)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target), rel=1e-5)


def test_depends_on_the_scale_but_not_on_the_means() -> None:
    torch.manual_seed(0)
    features = torch.randn(20, 6)
    assert coral(features, features + 5).item() == pytest.approx(0, abs=1e-9)
    # Doubling the features quadruples their covariance.
    nine_times = 9 * np.mean(np.cov(features.numpy(), rowvar=False) ** 2)
    assert coral(features, 2 * features).item() == pytest.approx(nine_times, rel=1e-5)


def test_symmetric() -> None:
    torch.manual_seed(1)
    source, target = torch.randn(6, 4), 2 * torch.randn(9, 4)
    assert coral(source, target).item() == pytest.approx(coral(target, source).item(), rel=1e-6)


def test_zero_with_zero_gradient_for_equal_batches_of_the_networks_width() -> None:
    torch.manual_seed(0)
    features = (10 * torch.randn(64, 2592).relu() + 100).requires_grad_()
    value = coral(features, features.detach().clone())
    assert abs(value.item()) < 1e-12
    value.backward()
    assert features.grad is not None
    assert features.grad.abs().max() < 1e-12
    assert abs(coral(features, features.detach()[torch.randperm(64)]).item()) < 1e-9


def test_gradient() -> None:
    torch.manual_seed(1)
    source = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(coral, (source, target))


def test_full_precision_within_autocast() -> None:
    torch.manual_seed(2)
    source, target = torch.randn(16, 64), 1.2 * torch.randn(16, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = coral(source, target)
        halved = coral(source.bfloat16(), target.bfloat16())
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == coral(source, target).item()


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        coral(torch.zeros(source), torch.zeros(target))


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="there are 1 and 4 rows, expected at least 2"):
        coral(torch.zeros(1, 3), torch.zeros(4, 3))


def test_uses_features_but_neither_logits_nor_labels() -> None:
    torch.manual_seed(3)
    source, target = torch.randn(5, 3), torch.randn(5, 3)
    nothing = torch.full((5, 2), torch.nan)
    value = CORAL()(Activations(source, nothing), Activations(target, nothing), torch.full((5,), -1))
    assert value.item() == coral(source, target).item()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bridges_a_change_of_spread_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(spread, seed, lr=1e-2) < 0.7
    assert adapt(CORAL(), Fixed(1.0), spread(seed), seed, lr=1e-2) > 0.85
