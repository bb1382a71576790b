import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from numpy.typing import NDArray
from torch import Tensor

from mergershift.adaptation.lmmd import LMMD, PUBLISHED_FACTORS, lmmd
from mergershift.adaptation.mmd import MedianMMD
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.tensor([0, 1, 1, 0, 1, 0, 0])


def sample(dtype: torch.dtype = torch.float64, size: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Features of 7 source and 11 target images, and class probabilities of the latter."""
    torch.manual_seed(0)
    source, target = torch.randn(7, size, dtype=dtype), 1.3 * torch.randn(11, size, dtype=dtype) + 0.4
    return source, target, (2 * torch.randn(11, 2, dtype=dtype)).softmax(1)


def reference(source: Tensor, target: Tensor, labels: Tensor, probabilities: Tensor) -> float:
    """The definition: a weighted mean kernel within and between the domains for each class, written out."""
    x, y, p = (part.double().numpy() for part in (source, target, probabilities))
    both = np.concatenate([x, y])
    squares = ((both[:, None] - both[None]) ** 2).sum(2)
    width = squares.sum() / (len(both) * (len(both) - 1))
    kernels = sum(np.exp(-squares / (factor * width)) for factor in PUBLISHED_FACTORS)

    def mean(a: NDArray[np.float64], b: NDArray[np.float64], kernel: NDArray[np.float64]) -> float:
        return float(np.average(kernel, weights=np.outer(a, b)))

    split, values = len(x), []
    for k in sorted({*labels.tolist()} & {*p.argmax(1).tolist()}):
        a, b = (labels.numpy() == k).astype(float), p[:, k]
        within = mean(a, a, kernels[:split, :split]) + mean(b, b, kernels[split:, split:])
        values.append(within - 2 * mean(a, b, kernels[:split, split:]))
    return float(np.mean(values)) if values else 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [5, 300])
def test_equals_the_definition(size: int, dtype: torch.dtype) -> None:
    source, target, probabilities = sample(dtype, size)
    value = lmmd(source, target, LABELS, probabilities)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(reference(source, target, LABELS, probabilities), rel=1e-5)


@pytest.mark.parametrize("missing", ["source", "target", "both"])
def test_a_class_without_images_is_left_out(missing: str) -> None:
    source, target, probabilities = sample()
    labels = torch.zeros(7, dtype=torch.long) if missing in ("source", "both") else LABELS
    if missing == "target":
        probabilities = torch.tensor([[0.8, 0.2]], dtype=torch.float64).expand(11, 2)
    if missing == "both":
        probabilities = torch.tensor([[0.2, 0.8]], dtype=torch.float64).expand(11, 2)
    value = lmmd(source, target, labels, probabilities).item()
    assert value == pytest.approx(reference(source, target, labels, probabilities), rel=1e-9, abs=1e-12)
    assert (value == 0) == (missing == "both")


def test_zero_for_equal_domains_with_certain_predictions_and_other_shares_of_classes() -> None:
    torch.manual_seed(0)
    source = 10 * torch.randn(7, 2592).relu() + 100
    again = torch.cat([torch.arange(7), torch.nonzero(LABELS)[:, 0]])  # every image of class 1 twice
    logits = 100.0 * torch.nn.functional.one_hot(LABELS[again])
    value = LMMD()(Activations(source, torch.zeros(7, 2)), Activations(source[again], logits), LABELS)
    assert abs(value.item()) < 1e-5


def test_distinguishes_exchanged_classes_which_an_mmd_cannot() -> None:
    source, _, _ = sample()
    source = source + 6 * LABELS[:, None]
    swapped = torch.nn.functional.one_hot(1 - LABELS).double()
    assert abs(MedianMMD()(*(Activations(source, swapped),) * 2, LABELS).item()) < 1e-9
    assert lmmd(source, source.clone(), LABELS, swapped).item() > 1


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
def test_invariant_under_scaling_and_finite_at_extreme_values(scale: float) -> None:
    source, target, probabilities = sample(torch.float32)
    expected = reference(source, target, LABELS, probabilities)
    rows = (scale * source).requires_grad_()
    value = lmmd(rows, scale * target, LABELS, probabilities)
    value.backward()
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert rows.grad.any()


def test_gradient_with_the_width_of_the_kernels_held() -> None:
    """Compared with finite differences of one image, in which the width is that of the unmoved batch."""
    source, target, probabilities = sample()
    both = torch.cat([source, target])
    width = torch.pdist(both).square().mean()
    rows = source.clone().requires_grad_()
    lmmd(rows, target, LABELS, probabilities).backward()

    def held(x: Tensor) -> Tensor:
        squares = torch.cdist(torch.cat([x, target]), torch.cat([x, target])).square()
        kernels = sum(torch.exp(-squares / (factor * width)) for factor in PUBLISHED_FACTORS)
        hot = torch.nn.functional.one_hot(LABELS).double()
        weights = torch.cat([hot / hot.sum(0), -probabilities / probabilities.sum(0)])
        return torch.einsum("ik,ij,jk->", weights, torch.as_tensor(kernels), weights) / 2

    for axis in range(source.shape[1]):
        step = torch.zeros_like(source)
        step[2, axis] = 1e-5
        difference = (held(source + step) - held(source - step)) / 2e-5
        assert rows.grad is not None
        assert rows.grad[2, axis].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-8)


def test_predictions_weight_the_images_but_get_no_gradient() -> None:
    source, target, _ = sample()
    logits = torch.randn(11, 2, dtype=torch.float64, requires_grad=True)
    rows = target.clone().requires_grad_()
    value = LMMD()(Activations(source, torch.full((7, 2), torch.nan)), Activations(rows, logits), LABELS)
    value.backward()
    assert logits.grad is None
    assert rows.grad is not None
    assert rows.grad.any()
    assert value.item() == pytest.approx(reference(source, target, LABELS, logits.detach().softmax(1)))


def test_finite_if_all_features_are_equal() -> None:
    features = torch.full((7, 100), 3.7, requires_grad=True)
    value = lmmd(features, features.detach(), LABELS, torch.full((7, 2), 0.5))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert features.grad is not None
    assert not features.grad.any()


def test_full_precision_within_autocast() -> None:
    source, target, probabilities = sample(torch.float32, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = lmmd(source, target, LABELS, probabilities)
        halved = lmmd(source.bfloat16(), target.bfloat16(), LABELS, probabilities)
    assert value.dtype == halved.dtype == torch.float32
    assert value.item() == lmmd(source, target, LABELS, probabilities).item()


@pytest.mark.parametrize(
    ("source", "target"), [((7, 3), (4, 2)), ((7, 3, 1), (4, 3, 1)), ((7, 3), (0, 3)), ((7,), (7,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        lmmd(torch.zeros(source), torch.zeros(target), LABELS, torch.full((target[0], 2), 0.5))


def test_wrong_labels_and_logits_are_reported() -> None:
    source, target = torch.zeros(7, 3), torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"labels have shape \(6,\), expected \(7,\)"):
        lmmd(source, target, LABELS[1:], torch.full((4, 2), 0.5))
    with pytest.raises(ValueError, match=r"logits have shape \(3, 2\), expected \(4, K\)"):
        LMMD()(Activations(source, torch.zeros(7, 2)), Activations(target, torch.zeros(3, 2)), LABELS)


@pytest.mark.parametrize("factors", [[], [1.0, 0.0], [-1.0], [float("nan")]])
def test_wrong_factors_raise_a_user_error(factors: list[float]) -> None:
    with pytest.raises(UserError, match="factors are"):
        LMMD(factors)


@pytest.mark.parametrize("seed", [1, 2])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(nearer, seed, steps=200) < 0.8
    assert adapt(LMMD(), Ramp(0.5), nearer(seed), seed, steps=200) > 0.9
