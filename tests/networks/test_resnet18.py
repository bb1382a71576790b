import pytest
import torch
from torch import nn

from mergershift.core.errors import UserError
from mergershift.networks.resnet18 import ResidualBlock, ResNet18


def test_shapes_and_depth() -> None:
    network = ResNet18(channels=3, width=8, bottleneck=16)
    features, logits = network(torch.randn(2, 3, 75, 75))
    assert features.shape == (2, 16)
    assert logits.shape == (2, 2)
    # 17 convolutions of 3x3 and one dense layer give the name; 1x1 shortcuts and the bottleneck do not count
    assert sum(isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3) for each in network.modules()) == 17


def test_default_size_is_that_of_resnet18() -> None:
    # He et al. 2016 have 11 176 512 weights below the classifier with their 7x7 stem on three channels.
    network = ResNet18(channels=3)
    published = 11_176_512 - 3 * 64 * 49 + 3 * 64 * 9
    added = (512 + 1) * 256 + (256 + 1) * 2
    assert sum(each.numel() for each in network.parameters()) == published + added


def test_stages_see_maps_suited_to_75_pixels() -> None:
    sizes: list[int] = []
    network = ResNet18(channels=2, width=4)
    for block in (each for each in network.modules() if isinstance(each, ResidualBlock)):
        block.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    network(torch.randn(1, 2, 75, 75))
    assert sizes == [38, 38, 19, 19, 10, 10, 5, 5]


def test_takes_images_of_other_sizes() -> None:
    assert ResNet18(channels=2, width=4)(torch.randn(1, 2, 33, 47)).logits.shape == (1, 2)


def test_block_adds_its_input() -> None:
    block = ResidualBlock(4, 4, stride=1).eval()
    nn.init.zeros_(block.residual[-1].weight)
    images = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(images), images.relu())


def test_wrong_channels_are_named() -> None:
    with pytest.raises(ValueError, match=r"given to a network for \(B, 2, H, W\)"):
        ResNet18(channels=2, width=4)(torch.zeros(1, 3, 75, 75))


def test_wrong_settings_are_the_users_mistake() -> None:
    with pytest.raises(UserError, match="bottleneck is 0"):
        ResNet18(channels=2, bottleneck=0)
