"""Measures of sky, noise, detection and size against images whose properties are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergershift.images.measure import MEASURES, measure, star_size

PIXEL_KPC = 1.6


def source(
    fwhm: float, *, peak: float, noise: float = 0.4, sky: float = 0.0, count: int = 40
) -> NDArray[np.float64]:
    """Draw Gaussian sources, averaged over pixels, at random positions within the central pixel."""
    random = np.random.default_rng(4)
    fine = np.arange(75 * 5) / 5 - 37.4
    made = np.empty((count, 1, 75, 75))
    for image in made:
        y, x = (
            np.exp(-4 * np.log(2) * ((fine - shift) / fwhm) ** 2) for shift in random.uniform(-0.5, 0.5, 2)
        )
        image[0] = peak * np.outer(y, x).reshape(75, 5, 75, 5).mean(axis=(1, 3))
    return made + sky + random.normal(0, noise, made.shape)


def test_sky_and_noise_are_those_of_the_border() -> None:
    found = measure(source(4, peak=100, noise=0.4, sky=1.5), PIXEL_KPC)
    assert list(found) == list(MEASURES)
    assert all(values.shape == (40, 1) and values.dtype == np.float32 for values in found.values())
    np.testing.assert_allclose(found["sky_level"], 1.5, atol=0.06)
    np.testing.assert_allclose(found["sky_noise"], 0.4, rtol=0.12)


def test_pure_noise_is_not_detected_and_its_correlation_makes_no_difference() -> None:
    random = np.random.default_rng(0)
    plain = random.normal(0, 0.4, (500, 1, 75, 75))
    coarse = np.kron(random.normal(0, 0.4, (500, 1, 38, 38)), np.ones((2, 2)))[..., :75, :75]
    for images in (plain, coarse):
        ratio = measure(images, PIXEL_KPC)["peak_sn"]
        assert np.median(ratio) < 2.5
        assert np.mean(ratio > 4) < 0.03
    assert (measure(source(4, peak=2), PIXEL_KPC)["peak_sn"] > 5).all()


@pytest.mark.parametrize("fwhm", [0.5, 1.0, 1.5, 2.0, 4.0])
def test_the_size_of_a_point_source_follows_from_its_width(fwhm: float) -> None:
    found = measure(source(fwhm, peak=200), PIXEL_KPC)["size"]
    assert np.median(found) == pytest.approx(star_size(np.array(fwhm)) * PIXEL_KPC, abs=0.25)


def test_what_cannot_be_measured_is_nan() -> None:
    image = source(4, peak=100, count=3)
    image[0] = np.nan
    image[1] = 2.0
    image[2, :, :, 50:] = np.nan
    found = measure(image, PIXEL_KPC)
    assert all(np.isnan(values[0]) for values in found.values())
    assert found["sky_noise"][1] == 0
    assert np.isnan(found["peak_sn"][1])
    complete = measure(source(4, peak=100, count=3), PIXEL_KPC)
    for name, values in found.items():
        np.testing.assert_allclose(values[2], complete[name][2], rtol=0.1, atol=0.1)
    tiny = measure(np.random.default_rng(0).normal(size=(1, 1, 6, 6)), PIXEL_KPC)
    assert np.isnan(tiny["size"]).all()
