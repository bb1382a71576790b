import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, clouds
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from mergershift.adaptation.entropy import Entropy, softmax_entropy
from mergershift.adaptation.source_only import SourceOnly
from mergershift.adaptation.weighting import Fixed, Ramp
from mergershift.networks import Activations


def penalty_of(source: Tensor, target: Tensor) -> Tensor:
    """The penalty computed from logits alone: features are NaN and labels invalid."""
    both = [Activations(torch.full((len(logits), 3), torch.nan), logits) for logits in (source, target)]
    return Entropy()(*both, torch.full((len(source),), -1))


def test_equals_scipy_and_gives_every_image_the_same_weight() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(scale=3, size=(5, 4)), rng.normal(scale=3, size=(11, 4))
    expected = entropy(softmax(np.concatenate([source, target]), axis=1), axis=1).mean()
    assert penalty_of(torch.tensor(source), torch.tensor(target)).item() == pytest.approx(expected)


@pytest.mark.parametrize("classes", [2, 5])
def test_smallest_for_certain_predictions_and_largest_for_uniform_ones(classes: int) -> None:
    certain = 1e4 * torch.eye(classes)
    assert penalty_of(certain, certain).item() == 0
    uniform = torch.full((3, classes), 7.0)
    largest = penalty_of(uniform, uniform).item()
    assert largest == pytest.approx(np.log(classes))
    torch.manual_seed(0)
    between = softmax_entropy(3 * torch.randn(1000, classes))
    assert 0 < between.min() < between.max() < largest


def test_a_constant_added_to_the_logits_changes_nothing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 3, dtype=torch.float64)
    torch.testing.assert_close(softmax_entropy(logits + 5), softmax_entropy(logits))


def test_gradient() -> None:
    torch.manual_seed(1)
    inputs = [torch.randn(rows, 3, dtype=torch.float64, requires_grad=True) for rows in (4, 6)]
    assert torch.autograd.gradcheck(penalty_of, inputs)


def test_gradient_is_finite_where_probabilities_vanish() -> None:
    logits = torch.tensor([[1e4, -1e4], [0.0, 200.0]], requires_grad=True)
    softmax_entropy(logits).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_full_precision_from_halved_logits() -> None:
    torch.manual_seed(2)
    halved = torch.randn(8, 2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = softmax_entropy(halved)
    assert value.dtype == torch.float32
    assert torch.equal(value, softmax_entropy(halved.float()))


@pytest.mark.parametrize(("source", "target"), [((4, 2), (4, 3)), ((4,), (4,)), ((0, 2), (4, 2))])
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, K\)"):
        penalty_of(torch.zeros(source), torch.zeros(target))


@pytest.mark.parametrize("seed", [1, 2])
def test_overcomes_a_shift_under_which_most_target_predictions_are_correct(seed: int) -> None:
    problem = clouds(seed, shift=1.0)
    assert adapt(SourceOnly(), Fixed(0.0), problem, seed, steps=300) < 0.8
    assert adapt(Entropy(), Ramp(0.3), problem, seed, steps=300) > 0.9
