import numpy as np
import pytest
from numpy.typing import ArrayLike

from mergershift.archive import FILTER_SETS, PIXEL_ARCSEC
from mergershift.archive.mock.cameras import AXES, DIRECTIONS, render_stars
from mergershift.archive.mock.light import Stars

CENTRED = np.zeros((4, 2))


def star(position: ArrayLike, smoothing: float) -> Stars:
    return Stars(np.asarray(position, float)[:, None], np.array([[1.0], [2.0], [3.0]]), np.array([smoothing]))


def test_cameras_are_right_handed() -> None:
    for (right, up), direction in zip(AXES, DIRECTIONS, strict=True):
        np.testing.assert_allclose(np.cross(right, up), direction, atol=1e-12)
        assert np.dot(right, right) == pytest.approx(1)


@pytest.mark.parametrize("smoothing", [0.01, 0.5, 1.3, 3.0, 20.0])
def test_light_is_conserved_at_every_smoothing(smoothing: float) -> None:
    images = render_stars(star((1.0, -2.0, 3.0), smoothing), CENTRED)
    flux = images.sum(axis=(2, 3)) * PIXEL_ARCSEC**2
    np.testing.assert_allclose(flux, np.tile([1.0, 2.0, 3.0], (4, 1)), rtol=2e-3)


def test_a_star_is_seen_where_the_camera_projects_it_and_as_wide_as_its_psf() -> None:
    centres = (np.arange(75) - 37) * 1.6
    places = np.random.default_rng(0).uniform(-12, 12, (40, 3))
    variances = []
    for place in places:
        for view, (right, up) in zip(render_stars(star(place, 0.3), CENTRED), AXES, strict=True):
            weight = view / view.sum(axis=(1, 2), keepdims=True)
            columns, rows = weight.sum(axis=1), weight.sum(axis=2)
            x, y = np.dot(right, place), np.dot(up, place)
            # The pixel grid is coarse compared with the PSF, so a star is off by up to a fraction of a pixel.
            np.testing.assert_allclose((columns * centres).sum(axis=1), x, atol=0.5)
            np.testing.assert_allclose((rows * centres).sum(axis=1), y, atol=0.5)
            variances += [(columns * (centres - x) ** 2).sum(axis=1), (rows * (centres - y) ** 2).sum(axis=1)]
    psf = [facts.psf_fwhm_arcsec / 2.3548 * 1.6 / PIXEL_ARCSEC for facts in FILTER_SETS["three"].filters]
    expected = np.array(psf) ** 2 + 0.3**2 + 1.6**2 / 12
    np.testing.assert_allclose(np.mean(variances, axis=0), expected, rtol=0.12)


def test_light_outside_the_field_is_not_seen() -> None:
    assert render_stars(star((500.0, 500.0, 400.0), 0.3), CENTRED).sum() == pytest.approx(0, abs=1e-12)


def test_offsets_shift_each_image_by_whole_and_fractional_pixels() -> None:
    offsets = np.array([[3.0, 0.0], [0.0, -2.0], [0.5, 0.5], [0.0, 0.0]])
    centres = np.arange(75) - 37
    for view, (x, y) in zip(render_stars(star((0.0, 0.0, 0.0), 3.0), offsets), offsets, strict=True):
        weight = view[0] / view[0].sum()
        assert (weight.sum(axis=0) * centres).sum() == pytest.approx(x, abs=0.02)
        assert (weight.sum(axis=1) * centres).sum() == pytest.approx(y, abs=0.02)


@pytest.mark.parametrize("smoothing", [0.5, 3.0])
def test_finer_images_show_the_same_light(smoothing: float) -> None:
    stars = star((3.0, -6.0, 4.0), smoothing)
    coarse, fine = render_stars(stars, CENTRED), render_stars(stars, CENTRED, 225)
    means = fine.reshape(4, 3, 75, 3, 75, 3).mean(axis=(3, 5))
    np.testing.assert_allclose(means, coarse, atol=0.1 * coarse.max())
    assert means.sum() == pytest.approx(coarse.sum(), rel=1e-3)
    assert fine.max() > coarse.max()
