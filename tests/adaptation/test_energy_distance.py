import geomloss
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance as of_numbers
from torch import Tensor

from mergershift.adaptation.energy_distance import EnergyDistance, energy_distance
from mergershift.adaptation.weighting import Fixed
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def sample(size: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(7, size, dtype=dtype), 1.3 * torch.randn(11, size, dtype=dtype) + 0.4


def reference(source: Tensor, target: Tensor) -> float:
    x, y = source.detach().double().numpy(), target.detach().double().numpy()
    return float(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [5, 300])
def test_equals_the_definition(size: int, dtype: torch.dtype) -> None:
    source, target = sample(size, dtype)
    target[3] = source[1]
    value = energy_distance(source, target)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target), rel=1e-5)


def test_of_single_features_is_the_square_of_scipys() -> None:
    source, target = sample(1)
    expected = of_numbers(source[:, 0].numpy(), target[:, 0].numpy()) ** 2
    assert energy_distance(source, target).item() == pytest.approx(expected)


def test_is_twice_what_geomloss_computes() -> None:
    source, target = sample()
    half = geomloss.SamplesLoss("energy", backend="tensorized")(source, target).item()
    assert energy_distance(source, target).item() == pytest.approx(2 * half, rel=1e-4)


def test_gradient() -> None:
    source, target = (part.requires_grad_() for part in sample(3))
    assert torch.autograd.gradcheck(energy_distance, (source, target))


def test_symmetric_and_positive() -> None:
    source, target = sample()
    assert energy_distance(source, target).item() > 0
    assert energy_distance(source, target).item() == pytest.approx(energy_distance(target, source).item())


def test_zero_with_a_small_gradient_for_equal_batches_of_the_networks_width() -> None:
    torch.manual_seed(0)
    features = (torch.randn(128, 2592).relu() + 100).requires_grad_()
    value = EnergyDistance()(activations(features), activations(features.detach().flip(0)), LABELS)
    value.backward()
    assert abs(value.item()) < 1e-5
    assert features.grad is not None
    assert features.grad.abs().max() < 1e-7


def test_finite_with_no_gradient_if_all_features_are_equal() -> None:
    for number in (0.0, 3.7):
        features = torch.full((8, 100), number, requires_grad=True)
        value = energy_distance(features, features.detach().clone())
        value.backward()
        assert value.item() == 0
        assert features.grad is not None
        assert not features.grad.any()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_proportional_to_the_scale_and_finite_at_extreme_values(scale: float) -> None:
    source, target = sample(dtype=torch.float32)
    rows = (scale * source).requires_grad_()
    value = energy_distance(rows, scale * target)
    value.backward()
    assert value.item() == pytest.approx(scale * reference(source, target), rel=1e-4)
    plain = source.clone().requires_grad_()
    energy_distance(plain, target).backward()
    assert plain.grad is not None
    torch.testing.assert_close(rows.grad, plain.grad, rtol=1e-4, atol=1e-6)


def test_pulls_distant_domains_as_strongly_as_near_ones() -> None:
    source, target = sample()
    pulls = []
    for shift in (10.0, 1e4):
        rows = source.clone().requires_grad_()
        energy_distance(rows, target + shift).backward()
        assert rows.grad is not None
        pulls.append(-rows.grad.sum(0).mean().item())
    assert pulls[0] > 0.8
    assert pulls == pytest.approx([2 / 5**0.5] * 2, rel=0.01)


def test_distance_per_feature_does_not_depend_on_their_number() -> None:
    source, target = sample(4)
    wide = EnergyDistance()(activations(source.repeat(1, 9)), activations(target.repeat(1, 9)), LABELS)
    narrow = EnergyDistance()(activations(source), activations(target), LABELS)
    plain = EnergyDistance(per_feature=False)(activations(source), activations(target), LABELS)
    assert wide.item() == pytest.approx(narrow.item())
    assert plain.item() == pytest.approx(2 * narrow.item())


def test_full_precision_within_autocast() -> None:
    source, target = sample(64, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = energy_distance(source, target)
        halved = energy_distance(source.bfloat16(), target.bfloat16())
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == energy_distance(source, target).item()


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        energy_distance(torch.zeros(source), torch.zeros(target))


@pytest.mark.parametrize("seed", [1, 2])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(nearer, seed, steps=200) < 0.8
    assert adapt(EnergyDistance(), Fixed(3.0), nearer(seed), seed, steps=200) > 0.9
