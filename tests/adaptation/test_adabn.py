import numpy as np
import pytest
import torch
from adaptation.small_images import SmallNetwork, accuracy, noisy, stripes, train
from adaptation.synthetic import Perceptron
from numpy.typing import NDArray
from torch import Tensor, nn

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.source_only import SourceOnly
from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network
from mergershift.networks.deepmerge_2020 import DeepMerge2020


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(1)
    return 3 * torch.randn(25, 2, 12, 12) + 2 * torch.randn(25, 1, 1, 1)


def statistics(norm: object) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Running mean and variance of a batch normalisation."""
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean.numpy(), norm.running_var.numpy()


def test_statistics_of_the_first_layer(network: SmallNetwork, images: Tensor) -> None:
    AdaBN().after_training(network, images.split(10))
    with torch.no_grad():
        inputs = network.encoder[0](images).double().numpy()
    parts = np.split(inputs, [10, 20])
    shares = [len(part) / len(inputs) for part in parts]
    variances = [part.var(axis=(0, 2, 3), ddof=1) for part in parts]
    mean, variance = statistics(network.encoder[1])
    np.testing.assert_allclose(mean, inputs.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, np.average(variances, axis=0, weights=shares), rtol=1e-4)


def test_a_deeper_layer_sees_inputs_normalised_by_their_own_batch(
    network: SmallNetwork, images: Tensor
) -> None:
    AdaBN().after_training(network, [images])
    encoder = network.encoder
    with torch.no_grad():
        first = encoder[0](images)
        norm = encoder[1]
        assert isinstance(norm, nn.BatchNorm2d)
        normalised = nn.functional.batch_norm(first, None, None, norm.weight, norm.bias, training=True)
        inputs = encoder[4](normalised.relu()).double().numpy()
    mean, variance = statistics(encoder[5])
    np.testing.assert_allclose(mean, inputs.mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(variance, inputs.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)


def test_statistics_over_the_image_width(images: Tensor) -> None:
    network = DeepMerge2020(channels=2, image_size=12).eval()
    AdaBN().after_training(network, [images])
    with torch.no_grad():
        inputs = network.encoder[1](network.encoder[0](images)).double().numpy()
    mean, variance = statistics(network.encoder[2].norm)
    np.testing.assert_allclose(mean, inputs.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(variance, inputs.var(axis=(0, 1, 2), ddof=1), rtol=1e-4)


def test_a_second_pass_changes_no_bit_because_dropout_stays_off(
    network: SmallNetwork, images: Tensor
) -> None:
    AdaBN().after_training(network, images.split(10))
    once = {name: value.clone() for name, value in network.state_dict().items()}
    AdaBN().after_training(network, images.split(10))
    assert all(torch.equal(value, once[name]) for name, value in network.state_dict().items())


def test_weights_modes_and_momenta_are_unchanged(network: SmallNetwork, images: Tensor) -> None:
    network.encoder[3].train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    modes = [module.training for module in network.modules()]
    AdaBN().after_training(network, images.split(10))
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert [module.training for module in network.modules()] == modes
    assert [network.encoder[place].momentum for place in (1, 5)] == [0.1, 0.3]
    assert all(value.grad is None for value in network.parameters())


class Unnormalised(Network):
    """A network that normalises, but keeps no running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.InstanceNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False))

    def forward(self, images: Tensor) -> Activations:
        features = self.layers(images).flatten(1)
        return Activations(features, features[:, :2])


@pytest.mark.parametrize("unfit", [Unnormalised(), Perceptron(channels=2)])
def test_a_network_without_batch_normalisation_raises_a_user_error(unfit: Network, images: Tensor) -> None:
    with pytest.raises(UserError, match=f"the network {type(unfit).__name__} has none"):
        AdaBN().after_training(unfit, [images])


def test_no_images_are_the_programmers(network: SmallNetwork) -> None:
    with pytest.raises(ValueError, match="no target images"):
        AdaBN().after_training(network, [])


def test_modes_come_back_after_a_failure(network: SmallNetwork) -> None:
    with pytest.raises(RuntimeError):
        AdaBN().after_training(network, [torch.zeros(4, 3, 12, 12)])
    assert not any(module.training for module in network.modules())
    assert [network.encoder[place].momentum for place in (1, 5)] == [0.1, 0.3]


def test_no_penalty_and_no_need_of_the_target_in_training() -> None:
    source, target = (Activations(torch.randn(4, 3), torch.full((4, 2), torch.nan)) for _ in range(2))
    assert AdaBN()(source, target, torch.zeros(4, dtype=torch.long)).item() == 0
    assert not AdaBN().uses_target


@pytest.mark.parametrize("seed", [0, 1])
def test_overcomes_a_shift_that_source_only_fails_on_at_the_expense_of_the_source(seed: int) -> None:
    (source, labels), (target, _), (test, truth) = (stripes(10 * seed + part) for part in range(3))
    target, shifted = noisy(target, (0.42, 0.54), seed=1), noisy(test, (0.42, 0.54), seed=2)
    plain = train(SourceOnly(), source, labels, target, seed)
    assert accuracy(plain, test, truth) > 0.9
    assert accuracy(plain, shifted, truth) < 0.7
    adapted = train(AdaBN(), source, labels, target, seed)
    assert accuracy(adapted, shifted, truth) > 0.9
    assert accuracy(adapted, test, truth) < 0.7
