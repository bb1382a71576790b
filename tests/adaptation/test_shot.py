import copy
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.small_images import SmallNetwork, accuracy, noisy, stripes, train
from adaptation.synthetic import Perceptron, adapt, clouds
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.base import ClassShares
from mergershift.adaptation.shot import Shot, pseudo_labels
from mergershift.adaptation.weighting import Fixed
from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network

SHARES = ClassShares(trained=(0.5, 0.5), expected=(0.8, 0.2))


def nearest_centroids(features: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """The two rounds of the paper with scipy's cosine distances, one class at a time."""
    rows = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    weights = probabilities
    for _ in range(2):
        used = [k for k in range(weights.shape[1]) if weights[:, k].sum() > 0]
        centroids = np.stack([np.average(rows, axis=0, weights=weights[:, k]) for k in used])
        labels = np.array(used)[cdist(rows, centroids, "cosine").argmin(1)]
        weights = np.eye(weights.shape[1])[labels]
    return labels


@pytest.mark.parametrize("classes", [2, 4])
def test_pseudo_labels_equal_the_definition(classes: int) -> None:
    rng = np.random.default_rng(classes)
    centres = rng.normal(scale=2, size=(classes, 5))
    features = centres[rng.integers(classes, size=60)] + rng.normal(size=(60, 5))
    probabilities = softmax(-cdist(features, centres + 0.5), axis=1)
    found = pseudo_labels(torch.tensor(features), torch.tensor(probabilities))
    assert found.tolist() == nearest_centroids(features, probabilities).tolist()
    assert len(set(found.tolist())) == classes


def test_a_class_without_images_gets_no_pseudo_label() -> None:
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    probabilities = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).repeat(4, 1)
    assert 2 not in pseudo_labels(features, probabilities)


def test_the_loss_equals_the_definition() -> None:
    logits = np.random.default_rng(0).normal(scale=2, size=(6, 2))
    labels = np.array([0, 1, 1, 0, 0, 1])
    p = softmax(logits, axis=1) * np.array(SHARES.expected) / np.array(SHARES.trained)
    p /= p.sum(1, keepdims=True)
    expected = entropy(p, axis=1).mean() + entropy(SHARES.expected, p.mean(0))
    expected -= 0.3 * np.log(p[np.arange(6), labels]).mean()
    method = Shot()
    method.expect(SHARES)
    assert method.loss(torch.tensor(logits), torch.tensor(labels)).item() == pytest.approx(expected)


def test_the_head_stays_as_it_is_and_all_weights_before_it_change(
    network: SmallNetwork, images: Tensor
) -> None:
    before = copy.deepcopy(network.state_dict())
    Shot(epochs=1, lr=1e-2).after_training(network, images.split(8))
    for name, weight in network.named_parameters():
        assert torch.equal(weight, before[name]) == name.startswith("head"), name
    assert not any(module.training for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())


def test_scores_on_the_source_use_its_statistics_and_the_adapted_weights(
    network: SmallNetwork, images: Tensor
) -> None:
    fitted = copy.deepcopy(network)
    Shot().fit_to_source(fitted, [images])
    AdaBN().after_training(network, [images])
    torch.testing.assert_close(fitted(images).logits, network(images).logits, rtol=1e-3, atol=1e-4)


def test_the_same_images_give_the_same_network(network: SmallNetwork, images: Tensor) -> None:
    other = copy.deepcopy(network)
    for one in (network, other):
        torch.manual_seed(id(one) % 1000)
        Shot(epochs=2).after_training(one, iter(images.split(8)))
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


class Headless(Network):
    """A network whose features are its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Activations:
        logits = self.layer(images.flatten(1))
        return Activations(logits, logits)


def test_a_network_without_a_head_raises_a_user_error() -> None:
    with pytest.raises(UserError, match="Headless has no weights after its features"):
        Shot().after_training(Headless().eval(), [torch.randn(4, 3, 1, 1)])


def test_a_network_without_batch_normalisation_is_adapted_too() -> None:
    torch.manual_seed(0)
    network = Perceptron(channels=3).eval()
    images = torch.randn(32, 3, 1, 1)
    before = network(images).features
    Shot(lr=1e-2).after_training(network, images.split(16))
    assert not torch.allclose(network(images).features, before)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [({"epochs": 0}, "epochs is 0"), ({"lr": -1.0}, "lr is"), ({"pseudo": -1.0}, "pseudo")],
)
def test_wrong_arguments_raise_a_user_error(arguments: dict[str, float], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        Shot(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [0, 1])
def test_overcomes_a_shift_better_than_new_statistics_do(seed: int) -> None:
    settings: dict[str, Any] = {"steps": 200, "batch_norm": True}
    statistics = adapt(AdaBN(), Fixed(0.0), clouds(seed), seed, **settings)
    assert adapt(Shot(epochs=10, lr=3e-3), Fixed(0.0), clouds(seed), seed, **settings) > statistics


def test_classes_of_unequal_shares_keep_them_if_the_shares_are_expected() -> None:
    (source, labels), (target, classes), (test, truth) = (stripes(10 + part) for part in range(3))
    rows = torch.cat([(classes == 0).nonzero()[:, 0], (classes == 1).nonzero()[:25, 0]])
    target, shifted = noisy(target[rows], (0.42, 0.54), seed=1), noisy(test, (0.42, 0.54), seed=2)
    aware, blind = Shot(lr=1e-3), Shot(lr=1e-3)
    aware.expect(ClassShares((0.5, 0.5), (0.84, 0.16)))
    adapted = [
        accuracy(train(method, source, labels, target, 1), shifted, truth) for method in (aware, blind)
    ]
    assert adapted[0] > max(adapted[1], 0.85)
