"""Gaps are filled without a trace of them in the rest of the image."""

from __future__ import annotations

import numpy as np
import pytest
from registry.samples import stamps

from mergershift.predicting.gaps import fill, middle_coverage


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
