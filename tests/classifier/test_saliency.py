from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mergershift.classifier.saliency import NoConvolution, grad_cam
from mergershift.networks import Activations
from mergershift.networks.deepmerge import DeepMerge
from mergershift.networks.deepmerge_2020 import DeepMerge2020
from mergershift.networks.resnet18 import ResNet18


class Pooled(nn.Module):
    """Convolution, ReLU, mean over pixels, two logits: a network for class activation mapping."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), activation, nn.AvgPool2d(2))
        self.convolution = nn.Conv2d(6, 5, 3, padding=1)
        self.activation = activation
        self.dense = nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Activations:
        features = self.activation(self.convolution(self.maps(images))).mean((2, 3))
        return Activations(features, self.dense(features))


class Dense(nn.Module):
    def __init__(self, *first: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*first, nn.Flatten(), nn.LazyLinear(2))

    def forward(self, images: Tensor) -> Activations:
        return Activations(images.flatten(1), self.layers(images))


def bilinear(cells: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Interpolate along both axes, one after the other."""
    for _ in range(2):
        cells = np.stack([np.interp(positions, np.arange(len(column)), column) for column in cells.T])
    return cells


class Even(nn.Module):
    """The network with all weights equal and no normalisation: its maps are brightest where the image is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Activations:
        found: Activations = self.network(images)
        return found


@pytest.mark.parametrize("build", [DeepMerge, partial(ResNet18, width=4), DeepMerge2020])
@pytest.mark.parametrize("pixel", [20, 37, 52])
def test_evidence_is_where_the_image_has_it(build: Callable[[int], nn.Module], pixel: int) -> None:
    torch.manual_seed(0)
    network = Even(build(2))
    offsets = torch.arange(75.0) - pixel
    spot = torch.exp(-(offsets[:, None] ** 2 + (torch.arange(75.0) - 37) ** 2) / 18).expand(1, 2, 75, 75)
    maps = [grad_cam(network, spot, label)[0] for label in (0, 1)]
    evidence = max(maps, key=lambda found: float(found.max())).sum(axis=1)
    evidence = np.clip(evidence - 0.5 * evidence.max(), 0, None)
    centre = (evidence * np.arange(75)).sum() / evidence.sum()
    assert centre == pytest.approx(pixel, abs=1)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU(inplace=True), nn.Identity()])
@pytest.mark.parametrize("label", [0, 1])
def test_equals_the_class_activation_map_before_average_pooling(activation: nn.Module, label: int) -> None:
    """Zhou et al. 2016 (arXiv:1512.04150): the maps, weighted by the dense layer."""
    torch.manual_seed(0)
    network, images = Pooled(activation).eval(), torch.randn(4, 2, 12, 12)
    with torch.no_grad():
        maps = network.activation(network.convolution(network.maps(images)))
        weights = network.dense.weight[label] - network.dense.weight[1 - label]
        plain = torch.einsum("k,nkhw->nhw", weights, maps).clamp(min=0) / maps[0, 0].numel()
    # The convolution without padding sees pixels 0 to 2 first, and the pooling the means of two of its cells.
    cells = (np.arange(12) - 1.5) / 2
    expected = np.stack([bilinear(one.numpy(), cells) for one in plain])
    found = grad_cam(network, images, label)
    assert found.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("build", [DeepMerge, partial(ResNet18, width=4), DeepMerge2020])
def test_every_network_has_maps_and_is_left_unchanged(build: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    network, images = build(2), torch.randn(3, 2, 75, 75)
    for weight in list(network.parameters())[:2]:
        weight.requires_grad_(False)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = grad_cam(network, images), grad_cam(network, images)
    assert first.shape == (3, 75, 75)
    assert first.min() >= 0
    # An image with evidence for neither class anywhere would have no map at all.
    assert np.maximum(first, grad_cam(network, images, label=0)).max(axis=(1, 2)).min() > 0
    np.testing.assert_array_equal(first, again)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(weight.grad is None for weight in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    grad_cam(DeepMerge(2), torch.randn(1, 2, 75, 75), threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("network", [Dense(), Dense(nn.Conv2d(2, 3, 8))])
def test_a_network_without_maps_is_refused(network: nn.Module) -> None:
    with pytest.raises(NoConvolution, match="no convolution"):
        grad_cam(network, torch.randn(2, 2, 8, 8))
    assert not any(layer._forward_hooks for layer in network.modules())
