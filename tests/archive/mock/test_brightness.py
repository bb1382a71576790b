import numpy as np
import pytest

from mergershift.archive import FILTER_SETS, IMAGE_SIZE, Domain
from mergershift.archive.mock.brightness import factors


def test_mean_and_standard_deviation_are_as_published_in_any_units() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat([20.0, 4.0], 40)
    flux = 10 ** rng.normal(0, 0.35, (80, 3))
    squares = flux**2 / 25 * rng.uniform(0.7, 1.4, (80, 3))
    one = factors(flux, squares, rows)
    np.testing.assert_allclose(factors(7 * flux, 49 * squares, rows), one / 7)
    pixels = rows.sum() * IMAGE_SIZE**2
    mean = (rows[:, None] * one * flux).sum(axis=0) / pixels
    square = (rows[:, None] * one**2 * squares).sum(axis=0) / pixels
    for channel, facts in enumerate(FILTER_SETS["three"].filters):
        assert mean[channel] == pytest.approx(facts.published_mean)
        assert np.sqrt(square[channel] - mean[channel] ** 2) == pytest.approx(
            facts.published_std[Domain.PRISTINE]
        )


def test_two_galaxies_keep_the_mean_and_stay_finite() -> None:
    flux = np.array([[1.0, 1.0, 1.0], [1.2, 0.8, 1.0]])
    found = factors(flux, flux**2 / 9, np.array([20.0, 4.0]))
    assert np.isfinite(found).all()
    mean = (np.array([[20.0], [4.0]]) * found * flux).sum(axis=0) / 24 / IMAGE_SIZE**2
    np.testing.assert_allclose(mean, [facts.published_mean for facts in FILTER_SETS["three"].filters])
