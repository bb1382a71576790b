"""Re-binning compared with sums by hand, and the physical scale compared with that of the archive."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad

from mergershift.archive import FIELD_KPC, IMAGE_SIZE, PIXEL_ARCSEC, REDSHIFT
from mergershift.predicting import regrid
from mergershift.predicting.regrid import Axis, around, central, kpc_per_arcsec, overlaps, rebin

RANDOM = np.random.default_rng(3)


def rebinned(images: NDArray[np.float64], rows: Axis, columns: Axis, size: int) -> NDArray[np.float64]:
    """Cut out the selected pixels and re-bin them."""
    return rebin(images[..., rows.start : rows.stop, columns.start : columns.stop], rows, columns, size)[0]


def test_the_archives_pixels_span_its_field() -> None:
    assert kpc_per_arcsec(REDSHIFT) * PIXEL_ARCSEC * IMAGE_SIZE == pytest.approx(FIELD_KPC, rel=1e-3)


@pytest.mark.parametrize("redshift", [0.1, 0.5, 4.0])
def test_the_scale_is_the_angular_diameter_distance(redshift: float) -> None:
    comoving = quad(lambda z: 1 / np.sqrt(0.2726 * (1 + z) ** 3 + 0.7274), 0, redshift)[0] * 299792.458 / 70.4
    expected = comoving * 1000 / (1 + redshift) * np.pi / 180 / 3600
    assert kpc_per_arcsec(redshift) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("redshift", [0.0, -1.0, np.nan, np.inf])
def test_a_redshift_without_a_scale_is_refused(redshift: float) -> None:
    with pytest.raises(ValueError, match="redshift"):
        kpc_per_arcsec(redshift)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_whole_pixels_are_averaged_in_blocks(factor: int) -> None:
    images = RANDOM.normal(size=(2, 3, 10 * factor, 10 * factor))
    axis = central(10 * factor, 10 * factor)
    expected = images.reshape(2, 3, 10, factor, 10, factor).mean(axis=(3, 5))
    np.testing.assert_allclose(rebinned(images, axis, axis, 10), expected, atol=1e-12)


@pytest.mark.parametrize("width", [16.0, 17.3, 20.9, 21.0, 6.2])
def test_flux_of_the_central_part_is_conserved(width: float) -> None:
    image = RANDOM.normal(size=(21, 21))
    axis = central(21, width)
    # A fine grid over the image gives the fraction of each pixel inside independently.
    fine = (np.arange(21 * 2000) + 0.5) / 2000
    inside = (abs(fine - 10.5) < width / 2).reshape(21, 2000).mean(axis=1)
    expected = (image * np.outer(inside, inside)).sum()
    flux = rebinned(image, axis, axis, 8).sum() * (width / 8) ** 2
    assert flux == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize(("length", "width"), [(30, 30.0), (31, 22.7), (12, 9.5)])
def test_a_constant_is_preserved_and_a_ramp_is_sampled_at_the_new_centres(length: int, width: float) -> None:
    axis = central(length, width)
    constant = np.full((length, length), 2.5)
    np.testing.assert_allclose(rebinned(constant, axis, axis, 10), 2.5)
    if width >= 20:  # Means of a ramp over finer pixels follow it; coarser pixels make steps.
        ramp = np.arange(length) + 0.5
        centres = length / 2 + (np.arange(10) - 4.5) * width / 10
        made = overlaps(axis, 10) @ ramp[axis.start : axis.stop]
        np.testing.assert_allclose(made, centres, atol=0.13)  # Parts of a pixel count with its mean.
        np.testing.assert_allclose(made + made[::-1], length, atol=1e-9)


def test_rows_and_columns_can_have_different_scales() -> None:
    image = RANDOM.normal(size=(20, 30))
    made = rebinned(image, central(20, 20), central(30, 30), 10)
    np.testing.assert_allclose(made, image.reshape(10, 2, 10, 3).mean(axis=(1, 3)), atol=1e-12)


def test_pixels_outside_the_field_have_no_influence() -> None:
    image = RANDOM.normal(size=(40, 40))
    axis = central(40, 20.0)
    damaged = image.copy()
    damaged[:10], damaged[:, 30:] = np.nan, np.inf
    np.testing.assert_array_equal(rebinned(damaged, axis, axis, 10), rebinned(image, axis, axis, 10))


def test_pixels_without_a_value_do_not_count_and_too_few_of_them_give_none() -> None:
    image = RANDOM.normal(size=(20, 20))
    image[0, 1] = np.nan
    image[4:6, 2:4] = np.nan, np.inf
    image[10, 10:12] = image[11, 10] = -np.inf
    means, share = rebin(image, central(20, 20), central(20, 20), 10)
    assert means[0, 0] == pytest.approx(np.mean([image[0, 0], image[1, 0], image[1, 1]]))
    assert np.argwhere(np.isnan(means)).tolist() == [[2, 1], [5, 5]]
    np.testing.assert_allclose(
        [share[0, 0], share[2, 1], share[5, 5], share.sum()], [0.75, 0, 0.25, 98], atol=1e-9
    )


def test_a_field_around_an_off_centre_galaxy_may_extend_beyond_the_image() -> None:
    axis = around(3.0, 9.0)
    assert axis == Axis(-1, 8, 0.0, 9.0)
    assert (axis.inside(20), axis.padding(20)) == (slice(0, 8), (1, 0))
    assert (axis.inside(6), axis.padding(6)) == (slice(0, 6), (1, 2))
    outside = around(-10.0, 9.0)
    assert outside.inside(6) == slice(0, 0)
    assert sum(outside.padding(6)) == 9
    assert central(20, 9.0) == around(9.5, 9.0)


def test_a_large_image_is_averaged_in_strips_as_it_is_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(5).normal(size=(2, 40, 30))
    with_gaps = images.copy()
    with_gaps[0, 17:23, 4:20] = np.nan
    axes = central(40, 37.3), central(30, 28.1)
    parts = [every[:, axes[0].inside(40), axes[1].inside(30)] for every in (images, with_gaps)]
    expected = [rebin(part, *axes, 10) for part in parts]
    monkeypatch.setattr(regrid, "STRIP", 7 * 60)
    for part, whole in zip(parts, expected, strict=True):
        for found, wanted in zip(rebin(part, *axes, 10), whole, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    assert np.isnan(expected[1][0]).any()
