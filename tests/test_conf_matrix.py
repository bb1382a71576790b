"""Every adaptation method that has a configuration file takes a step on every network that has one."""

from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from mergershift.adaptation import Adaptation, Weighting
from mergershift.networks import Activations, Network

CONF = Path(__file__).parents[1] / "conf"
NETWORKS = sorted((CONF / "network").glob("*.yaml"))
ADAPTATIONS = sorted((CONF / "adaptation").glob("*.yaml"))


def stem(path: Path) -> str:
    return path.stem


def load(path: Path) -> Any:
    return OmegaConf.to_container(OmegaConf.load(path))


def test_there_is_something_to_test() -> None:
    assert {"deepmerge", "deepmerge_2020", "resnet18"} <= {path.stem for path in NETWORKS}
    assert {"source_only", "mmd"} <= {path.stem for path in ADAPTATIONS}


@pytest.mark.parametrize("network_file", NETWORKS, ids=stem)
@pytest.mark.parametrize("adaptation_file", ADAPTATIONS, ids=stem)
def test_one_training_step(network_file: Path, adaptation_file: Path) -> None:
    torch.manual_seed(0)
    channels = 2
    network = hydra.utils.instantiate(load(network_file), channels=channels)
    settings = load(adaptation_file)
    penalty = hydra.utils.instantiate(settings["penalty"])
    weighting = hydra.utils.instantiate(settings["weighting"])
    assert isinstance(network, Network)
    assert isinstance(penalty, Adaptation)
    assert isinstance(weighting, Weighting)
    penalty.build(network.feature_size, classes=2)

    source, target = torch.randn(4, channels, 75, 75), 2 * torch.randn(4, channels, 75, 75)
    labels = torch.tensor([0, 1, 1, 0])
    source = penalty.labelled_images(source, torch.Generator().manual_seed(0))
    of_source, of_target = network(source), network(target)
    assert isinstance(of_source, Activations)
    assert of_source.features.shape == (4, network.feature_size)
    assert of_source.logits.shape == (4, 2)
    transfer = penalty(of_source, of_target, labels)
    assert transfer.shape == ()
    classification = functional.cross_entropy(of_source.logits, labels)
    loss = weighting(classification, transfer, progress=0.5) + network.regularisation()
    assert loss.shape == ()
    assert torch.isfinite(loss)

    before = {name: each.detach().clone() for name, each in network.named_parameters()}
    own = [*penalty.parameters(), *weighting.parameters()]
    optimiser = torch.optim.SGD([*network.parameters(), *own], lr=0.1)
    loss.backward()
    assert all(each.grad is not None for each in own), "what a method holds is really trained"
    optimiser.step()
    after = dict(network.named_parameters())
    assert all(torch.isfinite(each).all() for each in after.values())
    first = next(iter(before))
    assert not torch.equal(before[first], after[first])

    network.eval()
    penalty.after_training(network, [target])
    with torch.no_grad():
        assert torch.isfinite(network(target).logits).all()
    assert not network.training


@pytest.mark.parametrize("adaptation_file", ADAPTATIONS, ids=stem)
def test_a_penalty_reaches_the_target_exactly_where_it_says_so(adaptation_file: Path) -> None:
    torch.manual_seed(0)
    penalty = hydra.utils.instantiate(load(adaptation_file)["penalty"])
    penalty.build(feature_size=8, classes=2)
    source, target = (Activations(torch.randn(6, 8), torch.randn(6, 2)) for _ in range(2))
    for each in target:
        each.requires_grad_()
    value = penalty(source, target, torch.tensor([0, 1, 0, 1, 0, 1]))
    gradients = torch.autograd.grad(value, target, allow_unused=True) if value.requires_grad else (None, None)
    assert any(each is not None and each.any() for each in gradients) == penalty.uses_target
