from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Generator, Tensor, nn

from mergershift.adaptation import Adaptation
from mergershift.adaptation.combined import Combined
from mergershift.adaptation.entropy import Entropy
from mergershift.adaptation.fisher import Fisher
from mergershift.adaptation.mmd import MMD
from mergershift.adaptation.source_only import SourceOnly
from mergershift.config import instantiate
from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network
from mergershift.networks.deepmerge import DeepMerge

PUBLISHED = Path(__file__).parents[2] / "conf" / "adaptation" / "mmd_fisher_entropy.yaml"


def batches() -> tuple[Activations, Activations, Tensor]:
    torch.manual_seed(0)
    source, target = (Activations(torch.randn(6, 4), torch.randn(6, 2)) for _ in range(2))
    return source, target, torch.tensor([0, 1, 0, 1, 1, 0])


class Scaler(Adaptation):
    """A method that changes everything a method can change."""

    def __init__(self, factor: float, offset: float) -> None:
        super().__init__()
        self.factor, self.offset = factor, offset
        self.seen: list[Tensor] = []

    def build(self, feature_size: int, classes: int) -> None:
        self.own = nn.Parameter(torch.full((classes, feature_size), self.offset))

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        return self.factor * images + torch.rand((), generator=generator)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        return self.own.sum()

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        self.seen = list(batches)
        with torch.no_grad():
            bias = network.get_parameter("encoder.0.bias")
            bias.mul_(self.factor).add_(self.offset)


def test_weighted_sum() -> None:
    given = batches()
    combined = Combined([Entropy(), MMD([2.0]), SourceOnly()], [0.5, 3.0, 7.0])
    expected = 0.5 * Entropy()(*given) + 3 * MMD([2.0])(*given)
    assert combined(*given).item() == pytest.approx(expected.item())


def test_gradient_is_the_weighted_sum_too() -> None:
    source, target, labels = batches()
    features = source.features.double().requires_grad_()

    def value(features: Tensor) -> Tensor:
        both = (
            Activations(features, source.logits),
            Activations(target.features.double(), target.logits),
        )
        return Combined([MMD([1.0]), MMD([10.0])], [2.0, 0.5])(*both, labels)

    assert torch.autograd.gradcheck(value, (features,))


def test_the_weights_of_every_term_are_built_and_trained() -> None:
    combined = Combined([Scaler(1.0, 1.0), Combined([Scaler(1.0, 2.0)], [3.0])], [1.0, 2.0])
    combined.build(feature_size=4, classes=2)
    assert [tuple(parameter.shape) for parameter in combined.parameters()] == [(2, 4), (2, 4)]
    value = combined(*batches())
    value.backward()
    assert value.item() == 8 * 1.0 + 2 * 3 * 8 * 2.0
    gradients = [parameter.grad for parameter in combined.parameters() if parameter.grad is not None]
    assert [gradient.unique().item() for gradient in gradients] == [1.0, 6.0]


def test_uses_the_target_if_one_term_does() -> None:
    assert Combined([SourceOnly(), Entropy()], [1, 1]).uses_target
    assert not Combined([SourceOnly(), Fisher(1.0, 1.0)], [1, 1]).uses_target


def test_labelled_images_pass_through_the_terms_in_order() -> None:
    images = torch.ones(2, 1, 3, 3)
    combined = Combined([Scaler(2.0, 0.0), SourceOnly(), Scaler(10.0, 0.0)], [1, 1, 1])
    first, second = torch.rand(2, generator=Generator().manual_seed(5))
    changed = combined.labelled_images(images, Generator().manual_seed(5))
    torch.testing.assert_close(changed, 10 * (2 * images + first) + second)


def test_the_terms_change_the_trained_network_in_order_and_all_see_every_batch() -> None:
    network = DeepMerge(channels=1, image_size=8)
    before = network.get_parameter("encoder.0.bias").detach().clone()
    first, last = Scaler(2.0, 1.0), Scaler(10.0, 3.0)
    images = [torch.randn(2, 1, 8, 8) for _ in range(3)]
    Combined([first, SourceOnly(), last], [1, 1, 1]).after_training(network, iter(images))
    torch.testing.assert_close(network.get_parameter("encoder.0.bias"), 10 * (2 * before + 1) + 3)
    for term in (first, last):
        assert all(a is b for a, b in zip(term.seen, images, strict=True))


def test_batches_for_a_single_term_are_not_kept_in_memory() -> None:
    alive = 0

    class Counted(Adaptation):
        def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
            for number, _ in enumerate(batches, start=1):
                assert alive == number

    def counted() -> Iterator[Tensor]:
        nonlocal alive
        for _ in range(3):
            alive += 1
            yield torch.zeros(1)

    Combined([Counted(), SourceOnly()], [1, 1]).after_training(DeepMerge(channels=1, image_size=8), counted())
    assert alive == 3


def test_the_published_combination() -> None:
    configured: Any = OmegaConf.to_container(OmegaConf.load(PUBLISHED))
    penalty = instantiate(configured["penalty"], Combined)
    torch.manual_seed(1)
    penalty.build(feature_size=4, classes=2)
    torch.manual_seed(1)
    fisher = Fisher(w_intra=0.01, w_inter=1.0)
    fisher.build(feature_size=4, classes=2)
    given = batches()
    expected = MMD()(*given) + fisher(*given) + 0.05 * Entropy()(*given)
    assert penalty(*given).item() == pytest.approx(expected.item())
    assert penalty.uses_target


@pytest.mark.parametrize(
    ("terms", "weights"), [([], []), ([SourceOnly()], [1.0, 2.0]), ([SourceOnly(), Entropy()], [1.0])]
)
def test_terms_and_weights_have_to_match(terms: list[Adaptation], weights: list[float]) -> None:
    with pytest.raises(UserError, match="expected one or more terms and one weight per term"):
        Combined(terms, weights)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_wrong_weights_raise_a_user_error(weight: float) -> None:
    with pytest.raises(UserError, match="weights are"):
        Combined([SourceOnly()], [weight])


def test_a_term_has_to_be_a_method() -> None:
    with pytest.raises(UserError, match="a term is"):
        Combined([{"sigmas": [1.0]}], [1.0])  # type: ignore[list-item]
