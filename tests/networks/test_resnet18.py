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
    # The 18 layers are 17 convolutions of 3x3 and one dense layer; 1x1 shortcuts and the bottleneck do not count.
    kernels = [module.kernel_size for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert kernels.count((3, 3)) == 17


def test_the_default_network_has_the_size_of_resnet18() -> None:
    # With its 7x7 stem for three channels, the network of He et al. 2016 has 11 176 512 weights up to the classifier.
    network = ResNet18(channels=3)
    published = 11_176_512 - 3 * 64 * 49 + 3 * 64 * 9
    added = (512 + 1) * 256 + (256 + 1) * 2
    assert sum(parameter.numel() for parameter in network.parameters()) == published + added


def test_stages_see_maps_suited_to_75_pixels() -> None:
    sizes: list[int] = []
    network = ResNet18(channels=2, width=4)
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
    network(torch.randn(1, 2, 75, 75))
    assert sizes == [38, 38, 19, 19, 10, 10, 5, 5]


def test_takes_images_of_other_sizes() -> None:
    assert ResNet18(channels=2, width=4)(torch.randn(1, 2, 33, 47)).logits.shape == (1, 2)


def test_block_adds_its_input() -> None:
    block = ResidualBlock(4, 4, stride=1).eval()
    last = block.residual[-1]
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    images = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(images), images.relu())


def test_wrong_channels_are_reported() -> None:
    with pytest.raises(ValueError, match=r"the network expects \(B, 2, H, W\)"):
        ResNet18(channels=2, width=4)(torch.zeros(1, 3, 75, 75))


def test_wrong_settings_raise_a_user_error() -> None:
    with pytest.raises(UserError, match="bottleneck is 0"):
        ResNet18(channels=2, bottleneck=0)
