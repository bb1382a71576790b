from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from adaptation.small_images import accuracy, noisy, stripes, train
from omegaconf import OmegaConf
from scipy.ndimage import correlate1d
from scipy.special import ive
from torch import Generator

from mergershift.adaptation.noise_injection import NoiseInjection
from mergershift.adaptation.realism import FWHM, Realism, blur
from mergershift.archive import FILTER_SETS
from mergershift.archive.facts import PIXEL_ARCSEC
from mergershift.core.errors import UserError
from mergershift.networks import Activations

CONFIGURED = Path(__file__).parents[2] / "conf" / "adaptation" / "realism.yaml"
KNOWN: dict[str, Any] = {"deviations": (0.4, 0.5), "fwhm": (0.2, 0.3), "pixel": 0.2}


def test_configured_around_the_published_conditions() -> None:
    configured = OmegaConf.load(CONFIGURED).penalty
    noise = OmegaConf.load(CONFIGURED.with_name("noise_injection.yaml")).penalty
    assert configured.deviations == noise.deviations
    assert list(configured.fwhm) == [band.psf_fwhm_arcsec for band in FILTER_SETS["three"].filters]
    assert configured.pixel == PIXEL_ARCSEC


def test_noise_injection_if_nothing_is_drawn() -> None:
    images = torch.randn(3, 2, 12, 12)
    plain = Realism(**KNOWN, psf=1.0, depth=0.0, noise=0.0)
    found, expected = (
        method.labelled_images(images, Generator().manual_seed(1))
        for method in (plain, NoiseInjection((0.4, 0.5)))
    )
    torch.testing.assert_close(found, expected)


def test_blur_is_scipys_convolution_with_the_discrete_gaussian() -> None:
    rng = np.random.default_rng(0)
    images, variances = rng.normal(size=(3, 2, 20, 24)), rng.uniform(0, 2, size=(3, 2))
    found = blur(torch.tensor(images), torch.tensor(variances)).numpy()
    offsets = np.arange(-6, 7)
    for image, variance, blurred in zip(
        images.reshape(6, 20, 24), variances.ravel(), found.reshape(6, 20, 24), strict=True
    ):
        kernel = ive(offsets, variance)
        kernel /= kernel.sum()
        expected = correlate1d(
            correlate1d(image, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest"
        )
        np.testing.assert_allclose(blurred, expected, atol=1e-10)


def test_a_star_gets_the_drawn_width_and_keeps_its_flux() -> None:
    """A Gaussian star of the known width has, after the change, at most `psf` times this width."""
    along = torch.arange(31.0) - 15
    sigma = 0.3 / FWHM / 0.2
    star = torch.exp(-(along[:, None] ** 2 + along**2) / (2 * sigma**2))[None, None].repeat(400, 1, 1, 1)
    method = Realism((0.0,), (0.3,), 0.2, psf=1.6, depth=0.0)
    changed = method.labelled_images(star.double(), Generator().manual_seed(0))
    flux = changed.sum((1, 2, 3))
    torch.testing.assert_close(flux, torch.full_like(flux, star[0].sum().item()))
    before = (star * along**2).sum((1, 2, 3)) / star.sum((1, 2, 3))
    after = (changed * along**2).sum((1, 2, 3)) / flux
    factors = (1 + (after - before) / sigma**2).sqrt()
    assert factors.min().item() == pytest.approx(1.0, abs=0.02)
    assert factors.max().item() == pytest.approx(1.6, abs=0.02)
    assert factors.mean().item() == pytest.approx(1.3, abs=0.03)


def test_depth_is_common_to_the_filters_and_noise_is_not() -> None:
    method = Realism(**KNOWN, psf=1.0, depth=0.5, noise=0.2)
    noise = method.labelled_images(torch.zeros(600, 2, 50, 50), Generator().manual_seed(0))
    factors = noise.std((2, 3)) / torch.tensor(KNOWN["deviations"])
    ratio = factors[:, 0] / factors[:, 1]
    assert 0.8 / 1.2 * 0.95 < ratio.min() < 0.72
    assert 1.38 < ratio.max() < 1.2 / 0.8 * 1.05
    magnitudes = -2.5 * factors.log10()
    assert magnitudes.min() > -0.5 - 2.5 * np.log10(1.2) - 0.05
    assert magnitudes.max() < 0.5 - 2.5 * np.log10(0.8) + 0.05
    # Uniform within half a magnitude; the filters' own factors are independent of each other.
    shared = np.cov(magnitudes.numpy().T)[0, 1]
    assert shared == pytest.approx(1 / 12, rel=0.15)


def test_the_change_depends_on_the_generators_seed_alone() -> None:
    images, method = torch.randn(2, 2, 8, 8), Realism(**KNOWN)
    generator = Generator().manual_seed(3)
    first, second = (method.labelled_images(images, generator) for _ in range(2))
    torch.manual_seed(99)
    assert torch.equal(first, method.labelled_images(images, Generator().manual_seed(3)))
    assert not torch.equal(first, second)


def test_has_no_penalty_and_does_not_use_the_target() -> None:
    source, target = (Activations(torch.randn(4, 3), torch.full((4, 2), torch.nan)) for _ in range(2))
    method = Realism(**KNOWN)
    assert method(source, target, torch.zeros(4, dtype=torch.long)).item() == 0
    assert method.changes_images
    assert not method.uses_target


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"deviations": ()}, "deviations are"),
        ({"fwhm": (0.2,)}, "fwhm are"),
        ({"fwhm": (0.2, 0.0)}, "fwhm are"),
        ({"pixel": 0.0}, "pixel is"),
        ({"psf": 0.9}, "psf is"),
        ({"psf": 9.0}, "blurs by a Gaussian of"),
        ({"depth": -1.0}, "depth is"),
        ({"noise": 2.0}, "noise is"),
    ],
)
def test_wrong_arguments_raise_a_user_error(changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        Realism(**KNOWN | changed)


def test_too_few_filters_raise_a_user_error() -> None:
    with pytest.raises(UserError, match="there are 2 deviations, but the images have 3 filters"):
        Realism(**KNOWN).labelled_images(torch.zeros(1, 3, 4, 4), Generator())


def test_overcomes_shifts_that_one_known_noise_does_not_cover() -> None:
    (source, labels), (test, truth) = (stripes(part) for part in range(2))
    drawn = Realism((0.42, 0.54), (0.13, 0.2), 0.1875, psf=1.2)
    network = train(drawn, source, labels, source, 0)
    for factor in (0.7, 1.0, 1.4):
        shifted = noisy(test, (0.42 * factor, 0.54 * factor), seed=2)
        assert accuracy(network, shifted, truth) > 0.85
