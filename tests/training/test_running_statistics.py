"""Domains that pass through the network apart from each other."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mergershift.networks import Activations, Network
from mergershift.networks.deepmerge import DeepMerge
from mergershift.training.running_statistics import kept_statistics
from mergershift.training.share import ALONE


def domains() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 2, 8, 8), 3 * torch.randn(4, 2, 8, 8) + 5


class Counting(Network):
    """A network whose normalisation averages over all batches, since it has no momentum."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, momentum=None)

    def forward(self, images: Tensor) -> Activations:
        features = self.norm(images).flatten(1)
        return Activations(features, features[:, :2])


def networks() -> list[Network]:
    torch.manual_seed(1)
    return [DeepMerge(channels=2, image_size=8), Counting()]


@pytest.mark.parametrize("number", [0, 1])
def test_each_domain_is_normalised_by_its_own_statistics_and_the_first_ones_are_kept(number: int) -> None:
    network = networks()[number].train()
    alone, other = copy.deepcopy(network), copy.deepcopy(network)
    source, target = domains()
    both = ALONE.apart(network, source, target)
    for ours, first, second in zip(both, alone(source), other(target), strict=True):
        torch.testing.assert_close(ours, torch.cat([first, second]))
    for name, buffer in network.named_buffers():
        if "running" in name:
            assert torch.equal(buffer, dict(alone.named_buffers())[name]), name
    sum(part.sum() for part in both).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in network.parameters())


def test_settings_come_back_after_a_failure() -> None:
    for network in networks():
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        before = [(norm.momentum, norm.track_running_stats) for norm in norms]
        with pytest.raises(RuntimeError, match="stop"), kept_statistics(network):
            raise RuntimeError("stop")
        assert [(norm.momentum, norm.track_running_stats) for norm in norms] == before
