"""Areas that a constant fills and codes for no value are found, and dark sky is kept."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergershift.predicting.blanks import without_blanks, without_codes


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
