import math
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, clouds, moons, unadapted
from torch import Tensor, nn

from mergershift.adaptation.cdan import CDAN, entropy_weights
from mergershift.adaptation.dann import DANN, ReverseGradient
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def built(size: int, classes: int = 2, **settings: Any) -> CDAN:
    torch.manual_seed(0)
    penalty = CDAN(**settings)
    penalty.build(size, classes)
    return penalty


def sample(rows: int, size: int, classes: int = 2, shift: float = 0.0, **form: Any) -> Activations:
    features, logits = torch.randn(rows, size, **form) + shift, 2 * torch.randn(rows, classes, **form)
    return Activations(features.requires_grad_(), logits.requires_grad_())


@pytest.mark.parametrize("entropy_conditioning", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_equals_a_formula_in_numpy(normalise: bool, entropy_conditioning: bool) -> None:
    penalty = built(
        3, 4, hidden=(), normalise=normalise, spectral=False, entropy_conditioning=entropy_conditioning
    ).double()
    source, target = (sample(rows, 3, 4, dtype=torch.float64) for rows in (5, 8))
    value = penalty(source, target, LABELS).item()

    (output,) = penalty.domain_network.layers
    assert isinstance(output, nn.Linear)
    weight, bias = output.weight.detach().numpy()[0], output.bias.item()
    features = np.concatenate([domain.features.detach().numpy() for domain in (source, target)])
    if normalise:
        features = (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-5)
    exponentials = np.exp(np.concatenate([domain.logits.detach().numpy() for domain in (source, target)]))
    classes = exponentials / exponentials.sum(1, keepdims=True)
    losses, weights = [], []
    for row, (x, p) in enumerate(zip(features, classes, strict=True)):
        probability = 1 / (1 + np.exp(-(weight @ np.outer(p, x).ravel() + bias)))
        losses.append(-np.log(probability if row < 5 else 1 - probability))
        weights.append(1 + np.exp(np.sum(p * np.log(p))) if entropy_conditioning else 1.0)
    halves = [np.average(losses[half], weights=weights[half]) for half in (slice(5), slice(5, None))]
    assert value == pytest.approx(np.mean(halves), rel=1e-9)


def test_entropy_weights() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]], dtype=torch.float64)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert entropy_weights(probabilities).tolist() == pytest.approx([2.0, 1.5, 1 + math.exp(-entropy)])


def test_aligned_features_of_different_classes_are_distinguished() -> None:
    """DANN cannot distinguish equal features with different predicted classes, CDAN can."""
    torch.manual_seed(0)
    features = torch.randn(64, 4)
    sure = torch.tensor([[5.0, -5.0]]).expand(64, 2)
    losses = {}
    for kind in (DANN, CDAN):
        torch.manual_seed(0)
        penalty = kind(spectral=False)
        penalty.build(4, 2)
        optimiser = torch.optim.AdamW(penalty.parameters(), lr=1e-2)
        for _ in range(60):
            loss = penalty(Activations(features, sure), Activations(features, -sure), LABELS)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        losses[kind] = loss.item()
    assert losses[DANN] == pytest.approx(math.log(2), abs=0.01)
    assert losses[CDAN] < 0.2


def test_the_loss_of_a_classifier_that_can_only_guess_is_log_2() -> None:
    penalty = built(5, spectral=False)
    output = penalty.domain_network.layers[-1]
    assert isinstance(output, nn.Linear)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    value = penalty(sample(7, 5), sample(4, 5, shift=9.0), LABELS)
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


def test_reversed_gradient_is_exactly_minus_the_plain_one() -> None:
    penalty = built(6).eval()
    source, target = sample(5, 6), sample(5, 6)
    features = [source.features, target.features]
    reversed_ = torch.autograd.grad(penalty(source, target, LABELS), features)
    undone = (
        Activations(ReverseGradient.apply(domain.features), domain.logits) for domain in (source, target)
    )
    plain = torch.autograd.grad(penalty(*undone, LABELS), features)
    for one, other in zip(reversed_, plain, strict=True):
        assert other.abs().max() > 0
        assert torch.equal(one, -other)


def test_gradient() -> None:
    """A second reversal gives the plain gradient, which finite differences can check."""
    penalty = built(3, hidden=(8,), normalise=True).double().eval()
    source, target = (sample(rows, 3, dtype=torch.float64) for rows in (4, 5))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        both = (
            Activations(ReverseGradient.apply(x), source.logits),
            Activations(ReverseGradient.apply(y), target.logits),
        )
        return penalty(*both, LABELS)

    assert torch.autograd.gradcheck(loss, (source.features, target.features))


def test_predictions_condition_but_get_no_gradient() -> None:
    penalty = built(6).eval()
    source, target = sample(5, 6), sample(5, 6)
    value = penalty(source, target, LABELS)
    assert value.item() != penalty(source, Activations(target.features, -target.logits), LABELS).item()
    value.backward()
    assert source.logits.grad is None
    assert source.features.grad is not None
    assert source.features.grad.any()


def test_the_classifiers_weights_are_trained() -> None:
    penalty = built(8)
    before = {name: parameter.clone() for name, parameter in penalty.named_parameters()}
    optimiser = torch.optim.AdamW(penalty.parameters(), lr=1e-3, weight_decay=0)
    penalty(sample(16, 8), sample(16, 8, shift=1.0), LABELS).backward()
    optimiser.step()
    assert len(before) == 6
    for name, parameter in penalty.named_parameters():
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        built(3)(*(Activations(torch.zeros(shape), torch.zeros(4, 2)) for shape in (source, target)), LABELS)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ((3, 2), (4, 2), r"logits have shape \(3, 2\), expected \(4, K\)"),
        ((4, 2), (4,), r"logits have shape \(4,\), expected \(4, K\)"),
        ((4, 2), (4, 3), "logits have 2 classes in the source and 3 in the target"),
        ((4, 3), (4, 3), "rows have 9 columns, expected 6"),
    ],
)
def test_wrong_logits_are_reported(source: tuple[int, ...], target: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(3)(*(Activations(torch.zeros(4, 3), torch.zeros(shape)) for shape in (source, target)), LABELS)


@pytest.mark.parametrize("settings", [{"hidden": [0]}, {"dropout": 1.0}])
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        CDAN(**settings)


def unconstrained(entropy_conditioning: bool = True) -> CDAN:
    """CDAN with an unconstrained classifier, which does not saturate on a few features."""
    return CDAN(dropout=0.5, normalise=True, spectral=False, entropy_conditioning=entropy_conditioning)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(clouds, seed) < 0.7
    assert adapt(unconstrained(), Ramp(1.0), clouds(seed), seed) > 0.75


@pytest.mark.slow
def test_learns_rotated_moons() -> None:
    penalty = unconstrained(entropy_conditioning=False)
    assert unadapted(moons, seed=0, steps=500) < 0.8
    assert adapt(penalty, Ramp(1.0), moons(seed=0), seed=0, steps=500) > 0.85
