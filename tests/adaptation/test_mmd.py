from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mergershift.adaptation import Adaptation
from mergershift.adaptation.mmd import (
    MEDIAN_FACTORS,
    MMD,
    PUBLISHED_SIGMAS,
    MedianMMD,
    median_mmd,
    mmd,
    squared_distances,
    typical_square,
)
from mergershift.adaptation.source_only import SourceOnly
from mergershift.adaptation.weighting import Fixed
from mergershift.core.errors import UserError
from mergershift.networks import Activations


def activations(features: Tensor) -> Activations:
    return Activations(features, features.new_zeros(len(features), 2))


def reference(source: NDArray[np.float64], target: NDArray[np.float64], sigmas: tuple[float, ...]) -> float:
    """The definition, with all pairwise differences written out."""

    def mean_kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        squares = ((x[:, None, :] - y[None, :, :]) ** 2).sum(-1)
        return float(sum(np.exp(-squares / (2 * sigma)).mean() for sigma in sigmas))

    return mean_kernel(source, source) + mean_kernel(target, target) - 2 * mean_kernel(source, target)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_equals_the_definition(scale: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    source, target = scale * rng.normal(size=(7, 50)), scale * rng.normal(0.3, 1.2, size=(11, 50))
    source[3] = target[5] = source[1]
    value = mmd(torch.tensor(source, dtype=dtype), torch.tensor(target, dtype=dtype))
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target, PUBLISHED_SIGMAS), rel=2e-5)


def test_nineteen_published_kernels() -> None:
    assert len(PUBLISHED_SIGMAS) == 19
    # For distant points, each kernel is 1 on the diagonals and 0 elsewhere, which gives 19 / 4 + 19 / 2.
    far = mmd(1e6 * torch.eye(4), -1e6 * torch.eye(2, 4) - 1e6)
    assert far.item() == pytest.approx(19 / 4 + 19 / 2)


def test_symmetric() -> None:
    source, target = torch.randn(6, 4), torch.randn(9, 4) + 1
    assert mmd(source, target).item() == pytest.approx(mmd(target, source).item(), rel=1e-5)


def test_zero_for_equal_batches_of_the_networks_width() -> None:
    torch.manual_seed(0)
    features = 10 * torch.randn(128, 2592).relu() + 100
    assert abs(mmd(features, features.clone()).item()) < 1e-4
    assert abs(mmd(features, features[torch.randperm(128)]).item()) < 1e-4


def test_distances_are_not_negative_and_exactly_zero_on_the_diagonal() -> None:
    torch.manual_seed(3)
    rows = torch.randn(40, 300)
    repeated = torch.cat([rows, rows]) + 1e4
    squares = squared_distances(repeated)
    differences = repeated.double()[:, None] - repeated.double()[None]
    assert squares.min() >= 0
    assert not squares.diagonal().any()
    torch.testing.assert_close(squares.double(), differences.square().sum(-1), atol=1e-7, rtol=1e-6)


def test_gradient() -> None:
    torch.manual_seed(1)
    source = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, t: mmd(s, t, (0.5, 1.0, 10.0)), (source, target))


def test_gradient_is_finite_and_zero_if_all_features_are_equal() -> None:
    features = torch.full((8, 100), 3.7, requires_grad=True)
    mmd(features, features.detach().clone()).backward()
    assert features.grad is not None
    assert not features.grad.any()


def test_full_precision_within_autocast() -> None:
    torch.manual_seed(2)
    source, target = torch.randn(16, 64), torch.randn(16, 64) + 0.2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = mmd(source, target)
        halved = mmd(source.bfloat16(), target.bfloat16())
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == mmd(source, target).item()


class Largest(TorchDispatchMode):
    """A mode that records the size of the largest tensor created in it, also in the backward pass."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_no_intermediate_of_rows_by_features_by_rows() -> None:
    rows, size = 512, 2592
    source, target = torch.randn(rows, size, requires_grad=True), torch.randn(rows, size)
    with Largest() as largest:
        mmd(source, target).backward()
    assert source.grad is not None
    assert source.grad.abs().max() > 0
    one_square_per_kernel = len(PUBLISHED_SIGMAS) * (2 * rows) ** 2
    assert (2 * rows) ** 2 <= largest.numbers <= one_square_per_kernel < rows * rows * size / 10


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        mmd(torch.zeros(source), torch.zeros(target))


@pytest.mark.parametrize("sigmas", [[], [1.0, 0.0], [-1.0]])
def test_wrong_widths_raise_a_user_error(sigmas: list[float]) -> None:
    with pytest.raises(UserError, match="sigmas are"):
        MMD(sigmas)


def test_uses_features_and_widths_but_neither_logits_nor_labels() -> None:
    source, target = torch.randn(5, 3), torch.randn(5, 3)
    penalty = MMD(sigmas=[2.0])
    value = penalty(activations(source), activations(target), torch.zeros(5, dtype=torch.long))
    noisy = Activations(source, torch.full((5, 2), torch.nan))
    assert penalty(noisy, activations(target), torch.full((5,), -1)).item() == value.item()
    assert value.item() == pytest.approx(reference(source.numpy(), target.numpy(), (2.0,)), rel=1e-4)
    assert penalty.uses_target


def target_accuracy(penalty: Adaptation, seed: int) -> float:
    """Train on two clouds, and test on the same clouds after a translation."""
    torch.manual_seed(seed)
    labels = torch.arange(96) % 2
    clouds = torch.stack([2.0 * labels - 1, torch.zeros(96)], dim=1)
    source = clouds + 0.3 * torch.randn(96, 2)
    target = (clouds + 0.3 * torch.randn(96, 2) + torch.tensor([1.6, 1.0]))[torch.randperm(96)]
    held_out = clouds + 0.3 * torch.randn(96, 2) + torch.tensor([1.6, 1.0])
    body = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 16))
    head = nn.Sequential(nn.ReLU(), nn.Linear(16, 2))
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=5e-3)
    for _ in range(250):
        of_source, of_target = (Activations(f, head(f)) for f in (body(source), body(target)))
        loss = functional.cross_entropy(of_source.logits, labels) + penalty(of_source, of_target, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        return (head(body(held_out)).argmax(1) == labels).float().mean().item()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread: on a busy machine, threads waiting for each other make these tiny steps fifty times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", [0, 1])
def test_overcomes_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert target_accuracy(SourceOnly(), seed) < 0.7
    assert target_accuracy(MMD(), seed) > 0.9


def median_widths(source: Tensor, target: Tensor, factors: Sequence[float]) -> list[float]:
    """Multiples of the lower median of the squared distances between different rows of the joint batch."""
    squares = np.sort(
        pdist(np.concatenate([source.detach().numpy(), target.detach().numpy()]), "sqeuclidean")
    )
    return [factor * float(squares[(len(squares) - 1) // 2]) for factor in factors]


def moved_batches(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(6, 5, dtype=dtype), 1.5 * torch.randn(9, 5, dtype=dtype) + 0.7


@pytest.mark.parametrize("factors", [MEDIAN_FACTORS, (1.0,)])
def test_median_widths_equal_scipy_and_sklearn(factors: tuple[float, ...]) -> None:
    source, target = moved_batches()
    value = median_mmd(source, target, factors).item()
    expected = 0.0
    for sigma in median_widths(source, target, factors):
        kernel = rbf_kernel(torch.cat([source, target]).numpy(), gamma=1 / (2 * sigma))
        expected += kernel[:6, :6].mean() + kernel[6:, 6:].mean() - 2 * kernel[:6, 6:].mean()
    assert value == pytest.approx(expected)


def test_median_widths_carry_no_gradient() -> None:
    source, target = moved_batches()
    gradients = []
    for penalty in (median_mmd, lambda s, t: mmd(s, t, median_widths(s, t, MEDIAN_FACTORS))):
        s, t = source.clone().requires_grad_(), target.clone().requires_grad_()
        gradients.append(torch.autograd.grad(penalty(s, t), (s, t)))
    for ours, fixed in zip(*gradients, strict=True):
        assert ours.abs().max() > 1e-3
        torch.testing.assert_close(ours, fixed)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_median_widths_make_the_penalty_invariant_under_scaling_and_translation(scale: float) -> None:
    source, target = moved_batches()
    expected = median_mmd(source, target).item()
    assert median_mmd(scale * (source + 3), scale * (target + 3)).item() == pytest.approx(expected)
    assert median_mmd(target, source).item() == pytest.approx(expected)


@pytest.mark.parametrize("scale", [1e-35, 1e-25, 1e25, 1e37])
def test_median_widths_hold_for_all_sizes_that_float32_can_represent(scale: float) -> None:
    """The squares of such features do not fit into float32."""
    source, target = (rows.float() for rows in moved_batches())
    expected = median_mmd(source, target)
    scaled = (scale * source).requires_grad_()
    found = median_mmd(scaled, scale * target)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert scaled.grad is not None
    assert torch.isfinite(scaled.grad).all()


def test_fixed_widths_see_only_distant_rows_where_squares_overflow() -> None:
    source, target = (1e25 * rows.float() for rows in moved_batches())
    source.requires_grad_()
    value = mmd(source, target)
    value.backward()
    assert value.item() == pytest.approx(19 * (1 / 6 + 1 / 9), rel=1e-5)
    assert source.grad is not None
    assert source.grad.abs().max() < 1e-3


def test_zero_for_equal_batches_under_median_widths() -> None:
    source, _ = moved_batches(torch.float32)
    assert abs(median_mmd(source, source.flip(0)).item()) < 1e-6


def test_the_mean_replaces_the_median_if_most_rows_are_equal() -> None:
    rows = torch.full((20, 300), 3.7)
    rows[:3] = torch.arange(3.0)[:, None]
    squares = squared_distances(rows)
    assert typical_square(squares).item() == pytest.approx(
        pdist(rows.numpy(), "sqeuclidean").mean(), rel=1e-5
    )


def test_median_gradient_is_finite_and_zero_if_all_features_are_equal() -> None:
    features = torch.full((8, 100), 3.7, requires_grad=True)
    value = median_mmd(features, features.detach().clone())
    value.backward()
    assert value.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


def test_median_penalty_uses_features_and_factors_but_neither_logits_nor_labels() -> None:
    source, target = moved_batches()
    penalty = MedianMMD(factors=[0.5, 3.0])
    noisy = Activations(source, torch.full((6, 2), torch.nan))
    value = penalty(noisy, activations(target), torch.full((6,), -1))
    assert value.item() == median_mmd(source, target, (0.5, 3.0)).item()
    assert penalty.uses_target


@pytest.mark.parametrize("factors", [[], [1.0, 0.0], [-1.0]])
def test_wrong_factors_raise_a_user_error(factors: list[float]) -> None:
    with pytest.raises(UserError, match="factors are"):
        MedianMMD(factors)


def test_wrong_shapes_are_reported_by_median_mmd() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        median_mmd(torch.zeros(4, 3), torch.zeros(4, 2))


@pytest.mark.parametrize("seed", [1, 2])
def test_median_widths_bridge_a_shift_that_source_only_fails_on(seed: int) -> None:
    problem = nearer(seed)
    assert unadapted(nearer, seed, steps=300) < 0.8
    assert adapt(MedianMMD(), Fixed(1.0), problem, seed, steps=300) > 0.9
