import copy

import numpy as np
import pytest
import torch
from adaptation.small_images import SmallNetwork, accuracy, noisy, stripes, train
from adaptation.synthetic import Perceptron
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.base import ClassShares
from mergershift.adaptation.source_only import SourceOnly
from mergershift.adaptation.tent import Tent
from mergershift.core.errors import UserError
from mergershift.networks import Activations

SHARES = ClassShares(trained=(0.5, 0.5), expected=(0.8, 0.2))


def reference(logits: NDArray[np.float64], balance: float) -> float:
    p = softmax(logits, axis=1) * np.array(SHARES.expected) / np.array(SHARES.trained)
    p /= p.sum(1, keepdims=True)
    return float(entropy(p, axis=1).mean() + balance * entropy(SHARES.expected, p.mean(0)))


def test_loss_and_gradient_are_those_of_the_definition() -> None:
    logits = np.random.default_rng(0).normal(scale=2, size=(5, 2))
    method = Tent(balance=0.7)
    method.expect(SHARES)
    inputs = torch.tensor(logits, requires_grad=True)
    value = method.loss(inputs)
    assert value.item() == pytest.approx(reference(logits, 0.7))
    value.backward()
    numeric = approx_fprime(logits.ravel(), lambda x: reference(x.reshape(5, 2), 0.7), 1e-7)
    assert inputs.grad is not None
    np.testing.assert_allclose(inputs.grad.numpy().ravel(), numeric, atol=1e-6)


def test_one_step_is_that_of_adam_on_scales_and_shifts_with_batch_statistics(
    network: SmallNetwork, images: Tensor
) -> None:
    expected = copy.deepcopy(network)
    expected.train()
    expected.encoder[3].eval()  # dropout
    affine = [
        weight for name, weight in expected.named_parameters() if name.startswith(("encoder.1", "encoder.5"))
    ]
    optimiser = torch.optim.Adam(affine, lr=0.01)
    entropies = torch.distributions.Categorical(logits=expected(images).logits).entropy()
    entropies.mean().backward()
    optimiser.step()
    before = copy.deepcopy(network)
    Tent(epochs=1, lr=0.01, balance=0.0).after_training(network, [images])
    moved = 0
    for (name, weight), other in zip(network.named_parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(weight, expected.get_parameter(name), rtol=1e-4, atol=1e-5)
        assert torch.equal(weight, other) == (not name.startswith(("encoder.1", "encoder.5"))), name
        moved += not torch.equal(weight, other)
    assert moved == 4
    assert not any(module.training for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_statistics_are_those_of_adabn_with_the_tuned_weights(network: SmallNetwork, images: Tensor) -> None:
    Tent(epochs=2).after_training(network, [images])
    again = copy.deepcopy(network)
    AdaBN().after_training(again, [images])
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_scores_on_the_source_use_its_statistics_and_the_tuned_weights(
    network: SmallNetwork, images: Tensor
) -> None:
    method = Tent(lr=0.1)
    method.after_training(network, [images])
    fitted, expected = copy.deepcopy(network), copy.deepcopy(network)
    method.fit_to_source(fitted, [5 * images])
    AdaBN().after_training(expected, [5 * images])
    for name, value in fitted.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-3, atol=1e-4)
    old, new = (one.get_buffer("encoder.1.running_var") for one in (network, fitted))
    assert not torch.allclose(new, old)


def test_the_same_images_give_the_same_network(network: SmallNetwork, images: Tensor) -> None:
    other = copy.deepcopy(network)
    for one in (network, other):
        torch.manual_seed(id(one) % 1000)
        Tent(epochs=2).after_training(one, iter(images.split(8)))
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_network_without_batch_normalisation_raises_a_user_error(images: Tensor) -> None:
    with pytest.raises(UserError, match="the network Perceptron has none"):
        Tent().after_training(Perceptron(channels=2), [images])


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [({"epochs": 0}, "epochs is 0"), ({"lr": 0.0}, "lr is"), ({"balance": -1.0}, "balance")],
)
def test_wrong_arguments_raise_a_user_error(arguments: dict[str, float], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        Tent(**arguments)  # type: ignore[arg-type]


def test_no_penalty_and_no_need_of_the_target_in_training() -> None:
    source, target = (Activations(torch.randn(4, 3), torch.full((4, 2), torch.nan)) for _ in range(2))
    assert Tent()(source, target, torch.zeros(4, dtype=torch.long)).item() == 0
    assert not Tent().uses_target


def test_overcomes_a_shift_that_source_only_fails_on() -> None:
    (source, labels), (target, _), (test, truth) = (stripes(part) for part in range(3))
    target, shifted = noisy(target, (0.42, 0.54), seed=1), noisy(test, (0.42, 0.54), seed=2)
    assert accuracy(train(SourceOnly(), source, labels, target, 0), shifted, truth) < 0.7
    assert accuracy(train(Tent(), source, labels, target, 0), shifted, truth) > 0.95
