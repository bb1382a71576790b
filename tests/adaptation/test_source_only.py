import torch

from mergershift.adaptation.source_only import SourceOnly
from mergershift.networks import Activations


def test_penalty_is_zero_and_does_not_use_the_target() -> None:
    source = Activations(torch.randn(4, 3), torch.randn(4, 2))
    target = Activations(torch.full((2, 3), torch.nan), torch.full((2, 2), torch.nan))
    penalty = SourceOnly()
    value = penalty(source, target, torch.zeros(4, dtype=torch.long))
    assert value.shape == ()
    assert value.item() == 0
    assert not penalty.uses_target
