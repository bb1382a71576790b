"""Every adaptation method in conf/ can take a training step with every network in conf/."""

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
    views = penalty.target_views(target, torch.Generator().manual_seed(0))
    assert len(views) == penalty.views * len(target)
    of_source, of_target = network(source), network(views)
    assert isinstance(of_source, Activations)
    assert of_source.features.shape == (4, network.feature_size)
    assert of_source.logits.shape == (4, 2)
    transfer = penalty(of_source, of_target, labels)
    assert transfer.shape == ()
    classification = functional.cross_entropy(of_source.logits, labels)
    loss = weighting(classification, transfer, progress=0.5) + network.regularisation()
    assert loss.shape == ()
    assert torch.isfinite(loss)

    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    own = [
        *(weight for name, weight in penalty.named_parameters() if penalty.learning_rate_factor(name) > 0),
        *weighting.parameters(),
    ]
    optimiser = torch.optim.SGD([*network.parameters(), *own], lr=0.1)
    loss.backward()
    assert all(parameter.grad is not None for parameter in own), "the method's own parameters are trained"
    optimiser.step()
    after = dict(network.named_parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after.values())
    first = next(iter(before))
    assert not torch.equal(before[first], after[first])

    network.eval()
    penalty.after_training(network, [target])
    with torch.no_grad():
        assert torch.isfinite(network(target).logits).all()
    assert not network.training


@pytest.mark.parametrize("adaptation_file", ADAPTATIONS, ids=stem)
def test_a_penalty_depends_on_the_target_if_and_only_if_it_declares_so(adaptation_file: Path) -> None:
    torch.manual_seed(0)
    penalty = hydra.utils.instantiate(load(adaptation_file)["penalty"])
    penalty.build(feature_size=8, classes=2)
    source, target = (Activations(torch.randn(6, 8), torch.randn(6, 2)) for _ in range(2))
    for tensor in target:
        tensor.requires_grad_()
    value = penalty(source, target, torch.tensor([0, 1, 0, 1, 0, 1]))
    gradients = torch.autograd.grad(value, target, allow_unused=True) if value.requires_grad else (None, None)
    assert any(gradient is not None and gradient.any() for gradient in gradients) == penalty.uses_target
