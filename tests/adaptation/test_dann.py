import math
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.synthetic import adapt, clouds, moons, unadapted
from torch import Tensor, nn
from torch.nn import functional

from mergershift.adaptation import Adaptation
from mergershift.adaptation.dann import (
    DANN,
    DomainNetwork,
    ReverseGradient,
    domain_loss,
    joined_features,
    saturating_loss,
)
from mergershift.adaptation.weighting import Ramp
from mergershift.core.errors import UserError
from mergershift.networks import Activations

LABELS = torch.zeros(0, dtype=torch.long)


def activations(features: Tensor) -> Activations:
    return Activations(features, torch.full((len(features), 2), torch.nan))


def built(size: int, **settings: Any) -> DANN:
    torch.manual_seed(0)
    penalty = DANN(**settings)
    penalty.build(feature_size=size, classes=2)
    return penalty


def test_loss_is_binary_cross_entropy_with_equal_weight_for_both_domains() -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(12, dtype=torch.float64)
    cross_entropy = functional.binary_cross_entropy_with_logits
    of_source = cross_entropy(logits[:4], torch.ones(4).double()).item()
    of_target = cross_entropy(logits[4:], torch.zeros(8).double()).item()
    assert domain_loss(logits, 4).item() == pytest.approx((of_source + of_target) / 2, rel=1e-12)
    once_more = torch.cat([logits[:4], logits[4:], logits[4:]])
    assert domain_loss(once_more, 4).item() == pytest.approx(domain_loss(logits, 4).item(), rel=1e-12)


def test_a_weight_acts_like_that_many_copies() -> None:
    logits = torch.tensor([0.5, -1.0, 2.0, 0.1, -0.7])
    weighted = domain_loss(logits, 2, torch.tensor([2.0, 1.0, 1.0, 3.0, 1.0]))
    copies = domain_loss(logits[[0, 0, 1, 2, 3, 3, 3, 4]], 3)
    assert weighted.item() == pytest.approx(copies.item(), rel=1e-6)


def test_loss_stays_finite_and_exact_for_a_confident_classifier_in_half_precision() -> None:
    logits = torch.tensor([-300.0, 300.0], dtype=torch.bfloat16, requires_grad=True)
    loss = domain_loss(logits, 1)
    assert loss.dtype == torch.float32
    assert loss.item() == 300
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [-0.5, 0.5]


def test_the_loss_of_a_classifier_that_can_only_guess_is_log_2() -> None:
    penalty = built(5, spectral=False)
    output = penalty.domain_network.layers[-1]
    assert isinstance(output, nn.Linear)
    nn.init.zeros_(output.weight)
    nn.init.zeros_(output.bias)
    value = penalty(activations(torch.randn(7, 5)), activations(torch.randn(4, 5) + 9), LABELS)
    assert value.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_reversed_gradient_is_exactly_minus_the_plain_one(normalise: bool, spectral: bool) -> None:
    penalty = built(6, normalise=normalise, spectral=spectral).eval()
    source, target = (torch.randn(5, 6, requires_grad=True) for _ in range(2))
    reversed_ = torch.autograd.grad(
        penalty(activations(source), activations(target), LABELS), [source, target]
    )
    rows = joined_features(activations(source), activations(target), normalise)
    plain_loss = domain_loss(penalty.domain_network.plain(rows), 5)
    plain = torch.autograd.grad(plain_loss, [source, target])
    for one, other in zip(reversed_, plain, strict=True):
        assert other.abs().max() > 0
        assert torch.equal(one, -other)


def test_the_classifiers_own_gradient_is_not_reversed() -> None:
    penalty = built(6).eval()
    source, target = activations(torch.randn(5, 6)), activations(torch.randn(5, 6))
    weights = [*penalty.domain_network.parameters()]
    through = torch.autograd.grad(penalty(source, target, LABELS), weights)
    plain_loss = domain_loss(penalty.domain_network.plain(joined_features(source, target, False)), 5)
    assert all(map(torch.equal, through, torch.autograd.grad(plain_loss, weights)))


def test_reversal_is_the_identity_in_the_forward_pass_and_undone_by_a_second_one() -> None:
    rows = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(ReverseGradient.apply(rows), rows)

    def twice(x: Tensor) -> Tensor:
        return ReverseGradient.apply(torch.tanh(ReverseGradient.apply(x)))

    assert torch.autograd.gradcheck(twice, rows)


def test_gradient() -> None:
    """A second reversal gives the plain gradient, which finite differences can check."""
    penalty = built(3, hidden=(8,), normalise=True).double().eval()

    def loss(source: Tensor, target: Tensor) -> Tensor:
        both = (activations(ReverseGradient.apply(features)) for features in (source, target))
        return penalty(*both, LABELS)

    source, target = (torch.randn(rows, 3, dtype=torch.float64, requires_grad=True) for rows in (4, 5))
    assert torch.autograd.gradcheck(loss, (source, target))


def test_normalisation_keeps_the_difference_between_the_domains_but_not_the_scale() -> None:
    torch.manual_seed(0)
    source, target = torch.randn(50, 4), torch.randn(70, 4) + torch.tensor([3.0, 0, 0, 0])
    rows = joined_features(activations(source), activations(target), normalise=True)
    assert rows.mean(0).abs().max() < 1e-5
    assert rows.std(0, correction=0).sub(1).abs().max() < 1e-4
    assert (rows[50:, 0].mean() - rows[:50, 0].mean()).item() > 1
    scaled = joined_features(activations(1000 * source), activations(1000 * target), normalise=True)
    torch.testing.assert_close(scaled, rows, atol=1e-3, rtol=0)
    plain = joined_features(activations(source), activations(target), normalise=False)
    assert torch.equal(plain, torch.cat([source, target]))


def trained(penalty: Adaptation, source: Tensor, target: Tensor, steps: int = 100) -> list[float]:
    optimiser = torch.optim.AdamW(penalty.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = penalty(activations(source), activations(target), LABELS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("spectral", "limit"), [(False, 0.1), (True, 0.6)])
def test_the_classifier_is_trained_and_learns_to_distinguish_fixed_domains(
    spectral: bool, limit: float
) -> None:
    penalty = built(8, spectral=spectral)
    before = {name: parameter.clone() for name, parameter in penalty.named_parameters()}
    assert len(before) == 6
    losses = trained(penalty, torch.randn(64, 8), torch.randn(64, 8) + 1.5)
    assert losses[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses[-1] < limit
    for name, parameter in penalty.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_the_classifier_finds_no_difference_between_equal_domains() -> None:
    torch.manual_seed(1)
    features = torch.randn(64, 8)
    assert trained(built(8), features, features)[-1] > 0.68


def test_a_spectral_classifier_has_singular_values_near_one_and_a_bounded_slope() -> None:
    penalty = built(300)
    torch.manual_seed(1)
    trained(penalty, torch.randn(32, 300), torch.randn(32, 300) + 5, steps=50)
    penalty.eval()
    for layer in penalty.domain_network.layers:
        if isinstance(layer, nn.Linear):
            assert 0.9 < np.linalg.norm(layer.weight.detach().numpy(), 2) < 1.6
    one, other = 3 * torch.randn(20, 300), 3 * torch.randn(20, 300)
    slope = (penalty.domain_network(one) - penalty.domain_network(other)).abs()
    assert (slope <= 1.2 * (one - other).square().mean(1).sqrt()).all()


def test_distant_domains_saturate_an_unconstrained_classifier_but_not_a_spectral_one() -> None:
    """Saturation is why a network with thousands of features learns nothing from the published classifier."""
    torch.manual_seed(0)
    source, target = torch.randn(32, 500), torch.randn(32, 500) + 1
    pulls = {}
    for spectral in (False, True):
        penalty = built(500, spectral=spectral)
        trained(penalty, source, target, steps=60)
        rows = target.clone().requires_grad_()
        penalty.eval()(activations(source), activations(rows), LABELS).backward()
        assert rows.grad is not None
        pulls[spectral] = rows.grad.norm().item()
    assert pulls[True] > 10 * pulls[False]


@pytest.mark.parametrize(
    ("optimiser", "least", "most"), [(torch.optim.Adam, 0.0, 0.2), (torch.optim.AdamW, 0.8, 10.0)]
)
def test_a_ramp_divides_out_of_adamw_but_not_out_of_adam_with_weight_decay(
    optimiser: type[torch.optim.Optimizer], least: float, most: float
) -> None:
    """Adam's L2 term, unlike the loss, is not scaled by the ramp, and outweighs it at its bottom."""
    torch.manual_seed(0)
    network, ramp = DomainNetwork(32, [64], dropout=0.0, spectral=False), Ramp(1e-3)
    rows = torch.cat([torch.randn(64, 32), torch.randn(64, 32) + 0.3])
    settings: dict[str, Any] = {"lr": 1e-3, "weight_decay": 1e-3}
    steps = optimiser(network.parameters(), **settings)
    before = network.get_parameter("layers.0.weight").norm().item()
    for step in range(200):
        steps.zero_grad()
        (ramp.weight(step / 5000).float() * domain_loss(network.plain(rows), 64)).backward()
        steps.step()
    assert least <= network.get_parameter("layers.0.weight").norm().item() / before <= most


def test_hidden_layers_and_dropout_follow_the_settings() -> None:
    layers = DomainNetwork(2592, (1024, 512), 0.25, spectral=False).layers
    sizes = [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]
    assert sizes == [(2592, 1024), (1024, 512), (512, 1)]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.25, 0.25]
    assert len(DomainNetwork(4, (), 0.0, spectral=False).layers) == 1


@pytest.mark.parametrize(
    ("source", "target"), [((4, 3), (4, 2)), ((4, 3, 1), (4, 3, 1)), ((4, 3), (0, 3)), ((3,), (3,))]
)
def test_wrong_shapes_are_reported(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, F\) and \(M, F\)"):
        built(3)(activations(torch.zeros(source)), activations(torch.zeros(target)), LABELS)


def test_a_wrong_number_of_features_is_reported() -> None:
    with pytest.raises(ValueError, match="rows have 4 columns, expected 3"):
        built(3)(activations(torch.zeros(2, 4)), activations(torch.zeros(2, 4)), LABELS)


@pytest.mark.parametrize(
    "settings", [{"hidden": [0]}, {"hidden": [8, -1]}, {"dropout": 1.0}, {"dropout": -0.1}]
)
def test_wrong_settings_raise_a_user_error(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(settings))} is"):
        DANN(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_bridges_a_shift_that_source_only_fails_on(seed: int) -> None:
    assert unadapted(clouds, seed) < 0.7
    assert adapt(DANN(), Ramp(1.0), clouds(seed), seed) > 0.8


@pytest.mark.slow
def test_learns_rotated_moons() -> None:
    for seed in range(2):
        penalty = DANN(dropout=0.5, normalise=True, spectral=False)
        assert unadapted(moons, seed, steps=500) < 0.8
        assert adapt(penalty, Ramp(1.0), moons(seed), seed, steps=500) > 0.9


def test_a_saturating_loss_ends_and_its_gradient_vanishes() -> None:
    """As torch's cross-entropy of probabilities; between the ends it is the loss from logits."""
    for size, same in ((5.0, True), (200.0, False)):
        logits = torch.tensor([size, -size, size, -size], requires_grad=True)
        usual, limited = domain_loss(logits, 2), saturating_loss(logits, 2)
        assert torch.allclose(usual, limited, rtol=1e-4) == same
        (slope,) = torch.autograd.grad(limited, logits)
        assert bool(slope.abs().max() > 0.2) == same
    assert limited.item() == 50
