import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, nearer, unadapted
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import log_softmax, softmax
from torch import Generator

from mergershift.adaptation.ada_match import AdaMatch
from mergershift.adaptation.base import ClassShares
from mergershift.adaptation.combined import Combined
from mergershift.adaptation.entropy import Entropy
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

SHARES = ClassShares(trained=(0.5, 0.5), expected=(0.8, 0.2))


def activations(logits: NDArray[np.float64]) -> Activations:
    return Activations(torch.full((len(logits), 3), torch.nan), torch.tensor(logits))


def reference(
    source: NDArray[np.float64], plain: NDArray[np.float64], changed: NDArray[np.float64], confidence: float
) -> float:
    """The three steps of the docstring, one image at a time."""
    trained, expected = np.array(SHARES.trained), np.array(SHARES.expected)
    p = softmax(plain, axis=1) * expected / trained
    p /= p.sum(1, keepdims=True)
    aligned = p * expected / p.mean(0)
    aligned /= aligned.sum(1, keepdims=True)
    threshold = confidence * softmax(source, axis=1).max(1).mean()
    total = 0.0
    for row, other in zip(aligned, changed, strict=True):
        as_trained = row * trained / expected
        if as_trained.max() / as_trained.sum() >= threshold:
            total -= float((as_trained * log_softmax(other)).sum())
    return total / len(plain)


@pytest.fixture
def logits() -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(0)
    return tuple(rng.normal(scale=2, size=(count, 2)) for count in (9, 8, 8))


def aware(confidence: float = 0.9) -> AdaMatch:
    method = AdaMatch(confidence)
    method.expect(SHARES)
    return method


@pytest.mark.parametrize("confidence", [0.9, 1.0])
def test_equals_the_definition(logits: tuple[NDArray[np.float64], ...], confidence: float) -> None:
    source, plain, changed = logits
    value = aware(confidence)(
        activations(source), activations(np.concatenate([plain, changed])), torch.full((9,), -1)
    )
    assert value.item() == pytest.approx(reference(source, plain, changed, confidence))
    used = aware(confidence).pseudo_labels(torch.tensor(source), torch.tensor(plain)).any(1).sum().item()
    assert 0 < used < len(plain), "the threshold matters"


def test_the_gradient_is_that_of_the_changed_views_with_the_labels_held_constant(
    logits: tuple[NDArray[np.float64], ...],
) -> None:
    source, plain, changed = logits
    target = activations(np.concatenate([plain, changed]))
    target.logits.requires_grad_()
    of_source = activations(source)
    of_source.logits.requires_grad_()
    aware()(of_source, target, torch.zeros(9)).backward()
    numeric = approx_fprime(
        changed.ravel(), lambda x: reference(source, plain, x.reshape(changed.shape), 0.9), 1e-7
    )
    assert target.logits.grad is not None
    np.testing.assert_allclose(target.logits.grad[8:].numpy().ravel(), numeric, atol=1e-6)
    assert not target.logits.grad[:8].any()
    assert of_source.logits.grad is None


def test_pseudo_labels_have_the_shares_of_the_classification_loss() -> None:
    """Sure predictions of 80 % and 20 % weigh the same in a loss that balances the classes."""
    certain = 30 * torch.eye(2, dtype=torch.float64).repeat_interleave(torch.tensor([80, 20]), 0)
    weights = aware().pseudo_labels(certain, certain)
    assert (weights.sum(0) / weights.sum()).tolist() == pytest.approx([0.5, 0.5])
    assert weights.sum().item() == pytest.approx(100)


def test_unsure_images_are_left_out_and_a_class_never_predicted_leaves_finite_numbers() -> None:
    sure, unsure = torch.tensor([[9.0, -9.0]] * 4), torch.zeros(4, 2)
    assert not AdaMatch().pseudo_labels(sure, unsure).any()
    one_sided = torch.tensor([[1e5, -1e5]] * 4)
    assert torch.isfinite(AdaMatch().pseudo_labels(one_sided, one_sided)).all()


def test_views_are_the_images_and_turned_noisy_ones() -> None:
    torch.manual_seed(0)
    images = torch.randn(3, 2, 9, 9)
    generator = Generator().manual_seed(0)
    seen = set()
    for _ in range(60):
        first, second = AdaMatch(noise=0.0).target_views(images, generator).chunk(2)
        assert torch.equal(first, images)
        turned = [images.rot90(k, (2, 3)) for k in range(4)]
        symmetries = [*turned, *(view.flip(3) for view in turned)]
        (found,) = (k for k, view in enumerate(symmetries) if torch.equal(view, second))
        seen.add(found)
    assert seen == set(range(1, 8)), "never the same view again"
    views = AdaMatch(noise=0.5).target_views(torch.zeros(8, 2, 40, 40), generator)
    assert views[8:].std().item() == pytest.approx(0.5, rel=0.02)


def test_in_a_sum_other_terms_see_the_images_as_they_are(logits: tuple[NDArray[np.float64], ...]) -> None:
    source, plain, changed = logits
    both = activations(np.concatenate([plain, changed]))
    combined = Combined([aware(), Entropy()], [1.0, 2.0])
    combined.expect(SHARES)
    labels = torch.zeros(9)
    expected = aware()(activations(source), both, labels)
    expected = expected + 2 * Entropy()(activations(source), activations(plain), labels)
    assert combined(activations(source), both, labels).item() == pytest.approx(expected.item())
    images = torch.zeros(2, 1, 4, 4)
    assert len(combined.target_views(images, Generator())) == 4
    assert len(Combined([Entropy()], [1.0]).target_views(images, Generator())) == 2
    with pytest.raises(UserError, match="several terms need views"):
        Combined([AdaMatch(), AdaMatch()], [1.0, 1.0])


def test_wrong_shapes_are_reported() -> None:
    odd, three = torch.zeros(5, 2), torch.zeros(4, 3)
    for target in (odd, three):
        with pytest.raises(ValueError, match=r"expected \(N, K\) and \(2 M, K\)"):
            AdaMatch()(Activations(odd, odd), Activations(target, target), torch.zeros(5))


@pytest.mark.parametrize(
    ("arguments", "fault"), [({"confidence": 0.0}, "confidence is"), ({"noise": -1.0}, "noise is")]
)
def test_wrong_arguments_raise_a_user_error(arguments: dict[str, float], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        AdaMatch(**arguments)


@pytest.mark.parametrize("seed", [1, 2])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(nearer, seed, steps=300) < 0.8
    assert adapt(AdaMatch(), Ramp(1.0), nearer(seed), seed, steps=300) > 0.9
