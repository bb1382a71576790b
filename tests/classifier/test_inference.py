from typing import Any, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mergershift.classifier.inference import activations, predict
from mergershift.networks import Activations
from mergershift.networks.deepmerge import DeepMerge


class Mean(nn.Module):
    """Logits from the mean of each image; records how it was called."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.outputs = outputs
        self.sizes: list[int] = []
        self.gradients: list[bool] = []
        self.threads: list[int] = []

    def forward(self, images: Tensor) -> Activations:
        self.sizes.append(len(images))
        self.gradients.append(torch.is_grad_enabled())
        self.threads.append(torch.get_num_threads())
        mean = images.mean((1, 2, 3))
        return Activations(images.flatten(1), torch.stack([mean] * (self.outputs - 1) + [3 * mean], dim=1))


def test_probability_is_the_softmax_in_batches_without_gradients() -> None:
    images, module = torch.randn(10, 2, 3, 3), Mean()
    found = predict(module, images, batch_size=4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, torch.sigmoid(2 * images.double().mean((1, 2, 3))), rtol=1e-6)
    assert module.sizes == [4, 4, 2]
    assert module.gradients == [False] * 3


def test_evaluation_mode_holds_for_the_call_only() -> None:
    torch.manual_seed(0)
    network, images = DeepMerge(2, dropout=0.5), torch.randn(6, 2, 75, 75)
    normalisation = network.encoder[1]
    assert isinstance(normalisation, nn.BatchNorm2d)
    assert normalisation.running_mean is not None
    statistics = normalisation.running_mean.clone()
    first, again = predict(network, images), predict(network, images, batch_size=5)
    np.testing.assert_allclose(first, again, rtol=1e-5)
    assert network.training
    assert torch.equal(normalisation.running_mean, statistics)


def test_arrays_and_tensors_give_the_same() -> None:
    images = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(predict(Mean(), images), predict(Mean(), torch.from_numpy(images)))


def test_number_of_threads_holds_for_the_call_only() -> None:
    before, module = torch.get_num_threads(), Mean()
    predict(module, torch.zeros(1, 1, 2, 2), threads=before + 1)
    assert module.threads == [before + 1]
    assert torch.get_num_threads() == before


def test_no_images_give_no_probabilities() -> None:
    assert predict(Mean(), torch.zeros(0, 1, 2, 2)).shape == (0,)


class Travelling(nn.Module):
    """A module that can be moved to the meta device and back; records the devices of its weight and its images."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.weight, self.outputs = nn.Parameter(torch.zeros(1)), outputs
        self.devices: list[tuple[str, str]] = []

    def to(self, *arguments: Any, **options: Any) -> Self:
        (device,) = arguments
        return self.to_empty(device=device)  # the meta device keeps no values that could be moved back

    def forward(self, images: Tensor) -> Activations:
        self.devices.append((self.weight.device.type, images.device.type))
        return Activations(torch.zeros(len(images), 1), torch.zeros(len(images), self.outputs))


def test_another_device_is_used_for_the_call_only() -> None:
    module, images = Travelling(), torch.zeros(3, 1, 2, 2)
    predict(module, images, device="meta")
    activations(module, images, batch_size=2, device="meta")
    assert module.devices == [("meta", "meta")] * 3
    assert module.weight.device.type == "cpu"
    unfit = Travelling(outputs=3)
    with pytest.raises(ValueError, match="logits of shape"):
        predict(unfit, images, device="meta")
    assert unfit.weight.device.type == "cpu"


def test_wrong_shapes_are_named_and_the_mode_is_restored() -> None:
    with pytest.raises(ValueError, match=r"images of shape \(2, 2\)"):
        predict(Mean(), torch.zeros(2, 2))
    module = Mean(outputs=3)
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3\), expected \(2, 2\)"):
        predict(module, torch.zeros(2, 1, 4, 4))
    assert module.training
