"""A small network and images, for methods that change a trained network."""

import pytest
import torch
from adaptation.small_images import SmallNetwork
from torch import Tensor


@pytest.fixture
def network() -> SmallNetwork:
    torch.manual_seed(0)
    return SmallNetwork(channels=2, dropout=0.5).eval()


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(1)
    return 3 * torch.randn(24, 2, 12, 12) + 2 * torch.randn(24, 1, 1, 1)
