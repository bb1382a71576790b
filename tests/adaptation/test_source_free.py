import pytest
import torch
from adaptation.small_images import SmallNetwork
from adaptation.synthetic import Perceptron
from torch import nn

from mergershift.adaptation.source_free import Mixed, batch_norms, batch_statistics, step
from mergershift.networks import Network, feature_weights
from mergershift.networks.deepmerge import DeepMerge
from mergershift.networks.deepmerge_2020 import DeepMerge2020


def test_a_pass_holds_every_image_once_in_batches_of_mixed_rows() -> None:
    images = torch.arange(25.0).view(25, 1, 1, 1)
    mixed = Mixed(images.split(10))
    first, second = ([batch.flatten() for batch in mixed] for _ in range(2))
    assert [len(batch) for batch in first] == [13, 12]
    for found in (first, second):
        assert sorted(torch.cat(found).tolist()) == list(range(25))
    assert not torch.equal(first[0], second[0])
    assert all(len(batch) > (batch < 13).sum() > 0 for batch in first)
    again = next(iter(Mixed(images.split(10))))
    assert torch.equal(again.flatten(), first[0])


def test_no_images_are_the_programmers() -> None:
    with pytest.raises(ValueError, match="no target images"):
        Mixed([])


def test_batch_statistics_within_the_context_alone() -> None:
    torch.manual_seed(0)
    network = SmallNetwork(dropout=0.5).eval()
    images = 3 + 2 * torch.randn(16, 2, 12, 12)
    before = network(images).logits
    with batch_statistics(network):
        within = network(images).logits
        assert torch.equal(within, network(images).logits), "dropout is off"
    assert not torch.allclose(before, within)
    assert not any(module.training for module in network.modules())
    assert len(batch_norms(network)) == 2


def test_a_step_changes_the_given_weights_alone() -> None:
    first, second = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
    step(torch.optim.SGD([first], lr=0.5), 3 * first * second, [first])
    assert (first.item(), second.item()) == (-0.5, 1.0)
    assert first.grad is None
    assert second.grad is None


@pytest.mark.parametrize(
    ("network", "head"),
    [
        (DeepMerge(channels=2, image_size=16), ("head.",)),
        (DeepMerge2020(channels=2, image_size=16), ("hidden.", "output.")),
        (Perceptron(channels=2, batch_norm=True), ("head.",)),
    ],
)
def test_the_head_is_what_features_do_not_depend_on(network: Network, head: tuple[str, ...]) -> None:
    size = 1 if isinstance(network, Perceptron) else 16
    found = {id(weight) for weight in feature_weights(network.eval(), torch.randn(2, 2, size, size))}
    for name, weight in network.named_parameters():
        assert (id(weight) in found) != name.startswith(head), name
