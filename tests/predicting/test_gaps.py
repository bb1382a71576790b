"""Areas without data are found, and gaps are filled without a trace of them in the rest of the image."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from registry.samples import stamps

from mergershift.predicting.gaps import fill, middle_coverage, without_blanks, without_codes


def noisy(count: int = 1, side: int = 90) -> NDArray[np.float64]:
    return np.random.default_rng(3).normal(0.1, 1.0, (count, side, side))


@pytest.mark.parametrize("value", [0.0, -99.0, 1e30])
def test_areas_of_a_constant_have_no_value_in_images_with_noise(value: float) -> None:
    images = noisy(3)
    images[1, :30] = value
    images[2, 50:60, 20:40] = value
    images[0, 4, 4] = value
    made = without_blanks(images.copy())
    np.testing.assert_array_equal(np.isnan(made), (images == value) & (np.arange(3) > 0)[:, None, None])
    np.testing.assert_array_equal(made[~np.isnan(made)], images[~np.isnan(made)])


def test_dark_sky_of_images_without_noise_is_kept() -> None:
    image = np.clip(noisy() - 1.5, 0, None)
    image[:, :30] = 0
    np.testing.assert_array_equal(without_blanks(image.copy()), image)


def test_images_of_a_single_value_are_left_as_they_are() -> None:
    np.testing.assert_array_equal(without_blanks(np.zeros((2, 9, 9))), 0)


def test_enlarged_and_quantised_images_are_kept() -> None:
    enlarged = np.asarray(np.kron(noisy(side=30), np.ones((3, 3))), np.float64)
    np.testing.assert_array_equal(without_blanks(enlarged.copy()), enlarged)
    rounded = np.asarray(np.round(noisy(side=90) * 4) / 4, np.float64)
    np.testing.assert_array_equal(without_blanks(rounded.copy()), rounded)


def test_gaps_become_the_mean_of_their_neighbours_or_sky() -> None:
    images = stamps(3)
    before = images.copy()
    images[0, 1, 37, 37] = np.nan
    images[1, 0, :, 60:] = np.nan
    images[2, 0] = np.nan
    kept = ~np.isnan(images)
    fill(images, np.full((3, 2), 5.0, np.float32), np.full((3, 2), 0.2, np.float32))
    np.testing.assert_array_equal(images[kept], before[kept])
    around = np.delete(before[0, 1, 36:39, 36:39].ravel(), 4)
    assert images[0, 1, 37, 37] == pytest.approx(around.mean(), rel=1e-5)
    far = images[1, 0, :, 64:]
    assert far.mean() == pytest.approx(5.0, abs=0.03)
    assert far.std() == pytest.approx(0.2, rel=0.1)
    assert np.isnan(images[2, 0]).all()


def test_the_filling_of_an_image_does_not_depend_on_the_others() -> None:
    images = stamps(4)
    images[:, 0, 70:] = np.nan
    level, noise = np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32)
    alone = images[2:3].copy()
    fill(images, level, noise)
    fill(alone, level[:1], noise[:1])
    np.testing.assert_array_equal(images[2], alone[0])


def test_the_coverage_of_the_middle() -> None:
    images = np.zeros((1, 2, 75, 75), np.float32)
    images[0, 0, :30] = np.nan
    images[0, 1, 30:33] = np.nan
    np.testing.assert_allclose(middle_coverage(images), [[1.0, 0.8]])


@pytest.mark.parametrize("code", [-99.0, -9999.0, 1e30])
def test_single_pixels_with_a_code_for_no_value_have_none(code: float) -> None:
    images = np.random.default_rng(0).normal(0, 0.4, (2, 75, 75))
    images[:, 30:40, 30:40] += 50
    marked = images.copy()
    marked[1, [3, 20, 60], [5, 50, 9]] = code
    found = without_codes(marked)
    assert np.isnan(found).sum() == 3
    assert np.isnan(found[1, [3, 20, 60], [5, 50, 9]]).all()


def test_dark_sky_of_simulations_is_no_code() -> None:
    images = np.zeros((1, 75, 75))
    images[:, 30:40, 30:40] = np.random.default_rng(0).exponential(5, (1, 10, 10))
    assert not np.isnan(without_codes(images)).any()
