"""Images that are read strip by strip are converted as they are in one piece."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from registry.samples import facts_of

from mergershift.archive.layouts import npy_layout
from mergershift.predicting import blanks, fits_layout, pixels, reading, strips
from mergershift.predicting.conversion import make_plan
from mergershift.predicting.fits_access import FitsPixels
from mergershift.predicting.pixels import ArrayPixels, NpyPixels
from mergershift.predicting.planes import Description, Given, Mask, Pixels, Plane, StoredPlane
from mergershift.predicting.reading import read_images
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.strips import Strips
from mergershift.predicting.units import Refused

FACTS = facts_of()
ARCSEC = FACTS.field_kpc / kpc_per_arcsec(2.0)
SHAPE = 170, 160
HEIGHTS = (1, 2, 3, 7, 50, 169, 500)
Array = NDArray[np.floating]


def noisy(count: int = 2) -> Array:
    """Make images with a level and noise."""
    return np.random.default_rng(1).normal(0.3, 1.0, (count, 2, *SHAPE)).astype(np.float32)


def damaged() -> Array:
    """Make images with areas of a constant, of which some are too narrow, and with codes and pixels without a value."""
    images = noisy()
    images[0, 0, 40:90, 20:60] = 0
    images[0, 0, 88:90, 60:90] = 0
    images[0, 1, :2] = images[0, 1, 100:140, 5:100] = -32768
    images[1, 0, 3, 5] = images[1, 0, 90, 90] = -99
    images[1, 0, 30:, 100] = 1e30
    images[1, 1, 60:64, 10:15] = np.nan
    images[1, 1, 70:75] = np.inf
    return images


def converted(
    parts: Pixels,
    masks: tuple[Mask, ...] = (),
    *,
    across: int = 150,
    centre: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read images whose field is `across` pixels wide."""
    planes = tuple(
        Plane(SHAPE, name, "nJy/arcsec2", pixel_arcsec=(ARCSEC / across,) * 2, centre=centre)
        for name in FACTS.filters
    )
    plan = make_plan(Description(planes, 2.0), Given(), FACTS)
    blocks = list(read_images([StoredPlane(parts, number, masks) for number in (0, 1)], plan))
    return np.concatenate([block for block, _ in blocks]), np.concatenate([share for _, share in blocks])


@pytest.fixture
def by_strip(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function after which images are read by strips of a number of rows."""

    def use(height: int) -> None:
        monkeypatch.setattr(reading, "LARGE", 0)
        monkeypatch.setattr(strips, "STRIP", height * SHAPE[1])

    return use


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize(("across", "centre"), [(150, None), (133, (79.2, 83.1)), (150, (30.0, 100.0))])
def test_strips_of_any_height_give_what_the_whole_image_gives(
    by_strip: Callable[[int], None], height: int, across: int, centre: tuple[float, float] | None
) -> None:
    images = ArrayPixels(damaged())
    values, coverage = converted(images, across=across, centre=centre)
    assert (coverage < 1).all()
    by_strip(height)
    found, covered = converted(images, across=across, centre=centre)
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(covered, coverage, rtol=1e-6)


@pytest.mark.parametrize("kind", ["weight", "bad", "error"])
def test_masks_are_read_strip_by_strip(
    by_strip: Callable[[int], None], kind: Literal["weight", "bad", "error"]
) -> None:
    stored = np.ones((2, 2, *SHAPE)) if kind != "bad" else np.zeros((2, 2, *SHAPE), np.int16)
    stored[0, 0, 100:] = {"weight": 0.0, "bad": 6, "error": 0.0}[kind]
    stored[1, 1] = 0
    masks = (Mask(ArrayPixels(stored), None, kind, bits=2),)
    values, coverage = converted(ArrayPixels(noisy()), masks)
    by_strip(9)
    found, covered = converted(ArrayPixels(noisy()), masks)
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(covered, coverage, rtol=1e-6)
    # Errors that are 0 everywhere were not computed, which part of an image does not show.
    assert covered[1, 1] == pytest.approx(0.0 if kind == "weight" else 1.0)
    assert covered[0, 0] == pytest.approx(0.6)


def test_the_most_frequent_constant_is_found_among_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.kron(np.random.default_rng(2).normal(size=(60, 60)), np.ones((2, 2)))
    image[30:50, 30:60] = 0
    image[70:90, 30:75] = -1
    monkeypatch.setattr(strips, "STRIP", 10 * 120)
    monkeypatch.setattr(blanks, "MOST_VALUES", 300)
    assert blanks.blank_value(Strips(lambda start, stop: image[start:stop], (120, 120)), image.size) == -1


def test_the_noise_of_a_large_image_is_estimated_from_a_limited_number_of_pixels(
    monkeypatch: pytest.MonkeyPatch, by_strip: Callable[[int], None]
) -> None:
    sizes = []
    lowest = blanks._lowest

    def recorded(sample: NDArray[np.float64]) -> NDArray[np.float64]:
        sizes.append(sample.shape)
        return lowest(sample)

    monkeypatch.setattr(blanks, "_lowest", recorded)
    monkeypatch.setattr(blanks, "SAMPLE", 400)
    values, _ = converted(ArrayPixels(damaged()))
    by_strip(11)
    found, _ = converted(ArrayPixels(damaged()))
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-9)
    assert set(sizes) == {(2, 361), (1, 361)}


@pytest.mark.parametrize("form", ["npy", "fortran", "tensor", "fits", "fits.gz", "large.gz", "fz", "single"])
def test_every_kind_of_file_is_read_strip_by_strip(
    tmp_path: Path, by_strip: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    images = damaged() if form != "single" else damaged()[:1]
    values, coverage = converted(ArrayPixels(images))
    by_strip(13)
    monkeypatch.setattr(pixels, "STRIP", 13 * SHAPE[1])
    stored: Pixels
    path = tmp_path / f"images.{form}"
    if form == "tensor":
        torch = pytest.importorskip("torch")
        stored = ArrayPixels(torch.from_numpy(images))
    elif form in ("npy", "fortran"):
        with path.open("wb") as file:
            np.save(file, np.asfortranarray(images) if form == "fortran" else images)
        stored = NpyPixels(npy_layout(path))
    elif form == "fz":
        packed = fits.CompImageHDU(images, compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
        stored = FitsPixels(str(path), 1, images.shape)
    else:
        fits.PrimaryHDU(images[0] if form == "single" else images).writeto(plain := tmp_path / "images.fits")
        if form.endswith("gz"):
            path.write_bytes(gzip.compress(plain.read_bytes(), 1))
            monkeypatch.setattr(fits_layout, "MOST_UNPACKED", 1000 if form == "large.gz" else 2**26)
        stored = FitsPixels(str(path if form.endswith("gz") else plain), 0, images.shape)
    found, covered = converted(stored)
    np.testing.assert_allclose(found, values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(covered, coverage, rtol=1e-6)


def test_large_masks_and_planes_have_to_fit(by_strip: Callable[[int], None]) -> None:
    by_strip(20)
    weights = (Mask(ArrayPixels(np.ones((1, 1, *SHAPE))), 0, "weight"),)
    with pytest.raises(Refused, match="different numbers of images"):
        converted(ArrayPixels(noisy()), weights)
