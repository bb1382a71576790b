from pathlib import Path

import numpy as np
import pytest
import torch
from adaptation.small_images import accuracy, noisy, stripes, train
from omegaconf import OmegaConf
from scipy.stats import kstest
from torch import Generator

from mergershift.adaptation.noise_injection import NoiseInjection
from mergershift.adaptation.source_only import SourceOnly
from mergershift.archive import FILTER_SETS, Domain
from mergershift.core.errors import UserError
from mergershift.networks import Activations

CONFIGURED = Path(__file__).parents[2] / "conf" / "adaptation" / "noise_injection.yaml"
DEVIATIONS = (0.4, 0.5, 2.0)


def test_configured_deviations_are_the_published_ones() -> None:
    configured = OmegaConf.load(CONFIGURED).penalty.deviations
    for filters in FILTER_SETS.values():
        published = [band.noise_std for band in filters.filters]
        assert list(configured)[: len(published)] == pytest.approx(published, abs=5e-5)


def test_configured_for_the_domain_without_noise() -> None:
    assert OmegaConf.load(CONFIGURED).source == Domain.PRISTINE


@pytest.mark.parametrize("channels", [2, 3])
def test_gaussian_noise_of_the_given_deviation_in_every_filter(channels: int) -> None:
    torch.manual_seed(0)
    images = 5 * torch.randn(16, channels, 75, 75)
    before = images.clone()
    noise = NoiseInjection(DEVIATIONS).labelled_images(images, Generator().manual_seed(0)) - images
    assert torch.equal(images, before)
    pixels = noise.double().transpose(0, 1).reshape(channels, -1).numpy()
    count = pixels.shape[1]
    for values, deviation in zip(pixels, DEVIATIONS, strict=False):
        assert abs(values.mean()) < 5 * deviation / np.sqrt(count)
        assert abs(values.std() - deviation) < 5 * deviation / np.sqrt(2 * count)
        assert kstest(values / deviation, "norm").pvalue > 1e-3
    variances = torch.tensor(DEVIATIONS[:channels]) ** 2
    neighbours = (noise[..., 1:] * noise[..., :-1]).mean(dim=(0, 2, 3)) / variances
    between_filters = np.corrcoef(pixels) - np.eye(channels)
    assert max(neighbours.abs().max(), np.abs(between_filters).max()) < 5 / np.sqrt(count)


def test_the_noise_depends_on_the_generators_seed_alone() -> None:
    images, penalty = torch.zeros(2, 2, 8, 8), NoiseInjection(DEVIATIONS)
    generator = Generator().manual_seed(3)
    first, second = (penalty.labelled_images(images, generator) for _ in range(2))
    torch.manual_seed(99)
    again = penalty.labelled_images(images, Generator().manual_seed(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_keeps_the_type_of_the_images_and_the_order_of_their_filters() -> None:
    images = torch.ones(2, 3, 8, 8, dtype=torch.float64)
    changed = NoiseInjection((0.0, 1.0, 0.0)).labelled_images(images, Generator().manual_seed(0))
    assert changed.dtype == torch.float64
    assert torch.equal(changed[:, [0, 2]], images[:, [0, 2]])
    assert not torch.equal(changed[:, 1], images[:, 1])


def test_has_no_penalty_and_does_not_use_the_target() -> None:
    source, target = (Activations(torch.randn(4, 3), torch.full((4, 2), torch.nan)) for _ in range(2))
    penalty = NoiseInjection(DEVIATIONS)
    assert penalty(source, target, torch.zeros(4, dtype=torch.long)).item() == 0
    assert not penalty.uses_target
    assert not list(penalty.parameters())


def test_too_few_deviations_raise_a_user_error() -> None:
    with pytest.raises(UserError, match="there are 2 deviations, but the images have 3 filters"):
        NoiseInjection((0.4, 0.5)).labelled_images(torch.zeros(1, 3, 4, 4), Generator())


@pytest.mark.parametrize("deviations", [[], [0.4, -0.1], [float("nan")], [float("inf")]])
def test_wrong_deviations_raise_a_user_error(deviations: list[float]) -> None:
    with pytest.raises(UserError, match="deviations are"):
        NoiseInjection(deviations)


def test_wrong_shapes_are_reported() -> None:
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        NoiseInjection(DEVIATIONS).labelled_images(torch.zeros(2, 8, 8), Generator())


@pytest.mark.parametrize("seed", [0, 1])
def test_overcomes_a_shift_that_source_only_fails_on(seed: int) -> None:
    (source, labels), (test, truth) = (stripes(10 * seed + part) for part in range(2))
    shifted = noisy(test, (0.42, 0.54), seed=2)
    assert accuracy(train(SourceOnly(), source, labels, source, seed), shifted, truth) < 0.7
    injected = train(NoiseInjection((0.42, 0.54)), source, labels, source, seed)
    assert accuracy(injected, shifted, truth) > 0.9
    assert accuracy(injected, test, truth) > 0.9
