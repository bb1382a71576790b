from typing import Any

import pytest
import torch
from torch import nn

from mergershift.core.errors import UserError
from mergershift.networks.deepmerge import DeepMerge


@pytest.mark.parametrize("channels", [2, 3])
def test_shapes(channels: int) -> None:
    network = DeepMerge(channels)
    features, logits = network(torch.randn(5, channels, 75, 75))
    assert features.shape == (5, 2592)
    assert logits.shape == (5, 2)
    assert network.feature_size == 2592


def test_number_of_parameters_counted_by_hand() -> None:
    convolutions = (3 * 25 + 1) * 8 + (8 * 9 + 1) * 16 + (16 * 9 + 1) * 32
    norms = 2 * (8 + 16 + 32)
    dense = (2592 + 1) * 64 + (64 + 1) * 32 + (32 + 1) * 2
    assert sum(parameter.numel() for parameter in DeepMerge(3).parameters()) == convolutions + norms + dense


def test_normalises_over_channels_before_the_relu() -> None:
    kinds = [type(layer) for layer in DeepMerge(3).encoder]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d] * 3 + [nn.Flatten]


def test_dropout_is_active_in_training_only() -> None:
    network, images = DeepMerge(2, dropout=0.5), torch.randn(2, 2, 75, 75)
    assert (network(images).features == 0).float().mean() > (
        DeepMerge(2)(images).features == 0
    ).float().mean() + 0.2
    network.eval()
    assert torch.equal(network(images).logits, network(images).logits)


def test_number_of_features_follows_the_image_size() -> None:
    assert DeepMerge(2, image_size=40)(torch.randn(1, 2, 40, 40)).features.shape == (1, 32 * 5 * 5)


def test_every_weight_gets_a_gradient() -> None:
    network = DeepMerge(2)
    network(torch.randn(4, 2, 75, 75)).logits.square().sum().backward()
    gradients = [weight.grad for weight in network.parameters() if weight.ndim > 1]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)


@pytest.mark.parametrize("shape", [(4, 2, 75, 75), (4, 3, 64, 64), (3, 75, 75)])
def test_wrong_image_shapes_are_reported(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"the network expects \(B, 3, 75, 75\)"):
        DeepMerge(3)(torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"dropout": -0.1}, {"image_size": 7}])
def test_wrong_settings_raise_a_user_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        DeepMerge(3, **wrong)


def test_regularisation_is_zero() -> None:
    assert DeepMerge(3).regularisation().item() == 0
