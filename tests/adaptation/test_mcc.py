import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from mergershift.adaptation.mcc import MCC, class_confusion
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations


def penalty_of(logits: Tensor, temperature: float = 2.5) -> Tensor:
    """The penalty computed from the target's logits alone: everything else is NaN or invalid."""
    nothing = torch.full((len(logits), 3), torch.nan)
    source, target = Activations(nothing, torch.full_like(logits, torch.nan)), Activations(nothing, logits)
    return MCC(temperature)(source, target, torch.full((len(logits),), -1))


def certainty(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The paper's weights, which sum to the number of images."""
    raw = 1 + np.exp(-entropy(softmax(logits / temperature, axis=1), axis=1))
    return len(raw) * raw / raw.sum()


def reference(logits: NDArray[np.float64], weights: NDArray[np.float64], temperature: float) -> float:
    """The paper's definition evaluated for one pair of classes at a time."""
    p = softmax(logits / temperature, axis=1)
    classes = p.shape[1]
    confusion = np.array(
        [[np.sum(weights * p[:, j] * p[:, k]) for k in range(classes)] for j in range(classes)]
    )
    off = [confusion[j, k] / confusion[j].sum() for j in range(classes) for k in range(classes) if j != k]
    return float(np.sum(off) / classes)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_equals_the_definition(classes: int, temperature: float) -> None:
    logits = np.random.default_rng(0).normal(scale=4, size=(12, classes))
    expected = reference(logits, certainty(logits, temperature), temperature)
    assert penalty_of(torch.tensor(logits), temperature).item() == pytest.approx(expected)


def test_gradient_is_that_of_the_definition_with_the_certainty_held_constant() -> None:
    logits = np.random.default_rng(1).normal(scale=3, size=(5, 3))
    held = certainty(logits, 2.5)
    numeric = approx_fprime(logits.ravel(), lambda x: reference(x.reshape(5, 3), held, 2.5), 1e-7)
    inputs = torch.tensor(logits, requires_grad=True)
    penalty_of(inputs).backward()
    assert inputs.grad is not None
    np.testing.assert_allclose(inputs.grad.numpy().ravel(), numeric, atol=1e-6)


def test_gradient_of_the_confusion() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 3, dtype=torch.float64).requires_grad_()
    weights = torch.rand(6, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(lambda x: class_confusion(x.log_softmax(1), weights), (logits,))


@pytest.mark.parametrize("classes", [2, 5])
def test_zero_for_certain_predictions_and_largest_for_uniform_ones(classes: int) -> None:
    certain = 1e4 * torch.eye(classes).repeat(3, 1)
    assert penalty_of(certain).item() == 0
    uniform = torch.full((7, classes), 3.0)
    assert penalty_of(uniform).item() == pytest.approx((classes - 1) / classes)
    torch.manual_seed(0)
    assert 0 < penalty_of(torch.randn(50, classes)).item() < (classes - 1) / classes


def test_order_of_rows_and_classes_does_not_matter() -> None:
    torch.manual_seed(1)
    logits = 3 * torch.randn(10, 4, dtype=torch.float64)
    expected = penalty_of(logits).item()
    assert penalty_of(logits[torch.randperm(10)]).item() == pytest.approx(expected)
    assert penalty_of(logits[:, torch.randperm(4)]).item() == pytest.approx(expected)


def test_predicting_a_single_class_does_not_minimise_the_penalty() -> None:
    torch.manual_seed(2)
    sides = 10 * (torch.arange(20) % 2)[:, None] - 5 + torch.randn(20, 1)
    split = torch.cat([sides, -sides], dim=1)
    collapsed = torch.cat([sides.abs(), -sides.abs()], dim=1)
    assert penalty_of(split).item() < 0.1
    assert penalty_of(collapsed).item() > 0.4


@pytest.mark.parametrize("size", [5, 30, 100, 1e4])
def test_however_certain_a_single_class_is_it_is_no_minimum(size: float) -> None:
    """The probability of the other class falls to 1e-7, 1e-21 and below what float32 can represent."""
    logits = torch.tensor([[1.0, -1.0]]).expand(20, 2) * size
    assert penalty_of(logits, temperature=1.0).item() == pytest.approx(0.5, abs=1e-3)


def test_finite_if_a_class_is_never_predicted() -> None:
    logits = torch.tensor([[1e5, -1e5], [1e5, 0.0]], requires_grad=True)
    value = penalty_of(logits)
    value.backward()
    assert value.item() == 0.5
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_full_precision_within_autocast() -> None:
    torch.manual_seed(3)
    halved = torch.randn(16, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = penalty_of(halved)
    assert value.dtype == torch.float32
    assert value.item() == penalty_of(halved.float()).item()


@pytest.mark.parametrize("shape", [(4,), (0, 2), (4, 1), (4, 2, 1)])
def test_wrong_shapes_are_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(M, K\)"):
        penalty_of(torch.zeros(shape))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_wrong_temperature_raises_a_user_error(temperature: float) -> None:
    with pytest.raises(UserError, match="temperature is"):
        MCC(temperature)


@pytest.mark.parametrize("seed", [1, 2])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    problem = nearer(seed)
    assert unadapted(nearer, seed, steps=300) < 0.8
    assert adapt(MCC(), Ramp(1.0), problem, seed, steps=300) > 0.9
