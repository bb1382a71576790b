"""Stamps of mosaics compared with exact reprojection, and with sources put at known places."""

import gzip
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from predicting.mosaics.samples import DEC, RA, drizzled, galaxies, tangent_plane

from mergershift.predicting.mosaics.layer import Layer
from mergershift.predicting.planes import Given
from mergershift.predicting.units import Refused

RANDOM = np.random.default_rng(7)
FIELD, SIZE = 4.5, 24
PIXEL = FIELD / SIZE
SURFACE = {"BUNIT": "uJy/arcsec2"}


def surface(path: Path, image: np.ndarray, wcs: WCS, **cards: str | float) -> str:
    header = wcs.to_header()
    header.update(SURFACE | cards)
    fits.writeto(path, image.astype(np.float32), header)
    return str(path)


def noise(shape: tuple[int, int]) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def grid(ra: float = RA, dec: float = DEC) -> WCS:
    return tangent_plane((SIZE, SIZE), PIXEL, at=(ra, dec))


@pytest.mark.parametrize("pixel_arcsec", [0.03, 0.06, 0.15])
@pytest.mark.parametrize("turned", [0.0, 33.0, 90.0, 200.0])
def test_stamps_equal_exact_reprojection(tmp_path: Path, pixel_arcsec: float, turned: float) -> None:
    reproject = importlib.import_module("reproject")
    side = int(10 / pixel_arcsec)
    wcs = tangent_plane((side, side), pixel_arcsec, turned=turned)
    smooth = galaxies(wcs, (side, side), np.array([[RA, DEC], [RA + 1 / 3600, DEC - 0.7 / 3600]]), 0.15)
    image = noise((side, side))
    for values, tolerance in ((smooth, 0.004), (image, 0.3 * pixel_arcsec / PIXEL + 0.01)):
        expected, _ = reproject.reproject_exact((values, wcs), grid(), shape_out=(SIZE, SIZE))
        name = surface(tmp_path / f"{values is image}.fits", values, wcs)
        stamp = Layer.open("f160w", [name]).stamp(RA, DEC, FIELD, SIZE)
        assert stamp.coverage == 1
        assert np.sqrt(np.mean((stamp.values - expected) ** 2)) < tolerance
    assert stamp.values.std() == pytest.approx(expected.std(), rel=0.05)


def test_north_is_up_and_east_to_the_left_of_the_object_in_the_centre(tmp_path: Path) -> None:
    for turned in (0.0, 117.0):
        shape = (200, 260)
        wcs = tangent_plane(shape, 0.06, turned=turned)
        name = surface(
            tmp_path / f"{turned}.fits", galaxies(wcs, shape, np.array([[RA, DEC + 1 / 3600]]), 0.1), wcs
        )
        layer = Layer.open("f160w", [name])
        rows, columns = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
        for east, north in ((0.0, 1.0), (-1.2, 0.4)):
            ra = RA - east / 3600 / np.cos(np.deg2rad(DEC))
            values = layer.stamp(ra, DEC + (1 - north) / 3600, FIELD, SIZE).values
            place = [(values * axis).sum() / values.sum() * PIXEL for axis in (rows, -columns)]
            assert place == pytest.approx([north, east], abs=0.02)


def test_flux_per_pixel_becomes_surface_brightness(tmp_path: Path) -> None:
    wcs = tangent_plane((120, 120), 0.04)
    name = str(drizzled(tmp_path / "a.fits", np.ones((120, 120), np.float32), wcs))
    values = Layer.open("f160w", [name]).stamp(RA, DEC, FIELD, SIZE).values
    np.testing.assert_allclose(values, 0.01 / 0.04**2, rtol=1e-4)  # 10 nJy in 0.04 arcsec squared


def test_finer_mosaics_are_averaged_whole(tmp_path: Path) -> None:
    wcs = tangent_plane((600, 600), 0.01, turned=20)
    name = surface(tmp_path / "a.fits", noise((600, 600)), wcs)
    assert Layer.open("f160w", [name]).stamp(RA, DEC, FIELD, SIZE).values.std() == pytest.approx(
        0.01 / PIXEL, rel=0.1
    )


@pytest.mark.parametrize("file", [False, True])
def test_pixels_of_weight_zero_have_no_value(tmp_path: Path, file: bool) -> None:
    wcs = tangent_plane((120, 120), 0.06)
    image, weights = np.ones((120, 120), np.float32), np.ones((120, 120), np.float32)
    image[:, :60], weights[:, :60] = 99, 0
    header = wcs.to_header()
    header.update(SURFACE)
    if file:
        names = [
            surface(tmp_path / "a_drz_sci.fits", image, wcs),
            surface(tmp_path / "a_drz_wht.fits", weights, wcs),
        ]
        layer = Layer.open("f160w", names[:1], names[1:])
    else:
        hdus = [fits.ImageHDU(data, header, name) for data, name in ((image, "SCI"), (weights, "WHT"))]
        context = fits.ImageHDU(np.ones((2, 120, 120), np.int32), name="CTX")
        fits.HDUList([fits.PrimaryHDU(), *hdus, context]).writeto(tmp_path / "a_drz.fits")
        layer = Layer.open("f160w", [str(tmp_path / "a_drz.fits")])
    stamp = layer.stamp(RA, DEC, FIELD, SIZE)
    assert stamp.coverage == pytest.approx(0.5)
    np.testing.assert_allclose(stamp.values[np.isfinite(stamp.values)], 1, rtol=1e-5)


def test_without_weights_exact_zeros_have_no_value(tmp_path: Path) -> None:
    wcs = tangent_plane((120, 120), 0.06)
    image = np.ones((120, 120), np.float32)
    image[:60] = 0
    layer = Layer.open("f160w", [surface(tmp_path / "a.fits", image, wcs)])
    assert layer.stamp(RA, DEC, FIELD, SIZE).coverage == pytest.approx(0.5)
    assert "exactly 0 have no value" in layer.understood[0][1]


def test_a_field_at_the_edge_is_incomplete_and_one_outside_empty(tmp_path: Path) -> None:
    wcs = tangent_plane((100, 100), 0.06)
    layer = Layer.open("f160w", [surface(tmp_path / "a.fits", np.ones((100, 100)), wcs)])
    edge = layer.stamp(RA, DEC + 3 / 3600, FIELD, SIZE)
    assert edge.coverage == pytest.approx(0.5)
    assert layer.contains(RA, DEC + 2.9 / 3600)
    for ra, dec in ((RA, DEC + 3.1 / 3600), (RA + 1, DEC), (RA + 180, -DEC), (0.0, 90.0)):
        assert not layer.contains(ra, dec)
    for ra, dec in ((RA, DEC + 8 / 3600), (RA + 180, -DEC)):
        outside = layer.stamp(ra, dec, FIELD, SIZE)
        assert outside.coverage == 0
        assert np.isnan(outside.values).all()


@pytest.mark.parametrize("overlap", [0, 30])
def test_a_field_across_tiles_is_put_together(tmp_path: Path, overlap: int) -> None:
    wcs = tangent_plane((120, 120), 0.06, turned=15)
    image = galaxies(wcs, (120, 120), np.array([[RA, DEC]])) + 0.1
    whole = Layer.open("f160w", [surface(tmp_path / "whole.fits", image, wcs)]).stamp(RA, DEC, FIELD, SIZE)
    left, right = slice(0, 60 + overlap), slice(60 - overlap, 120)
    names = [
        surface(tmp_path / f"{number}.fits", image[:, part], wcs[:, part])
        for number, part in enumerate((left, right))
    ]
    joined = Layer.open("f160w", names).stamp(RA, DEC, FIELD, SIZE)
    assert joined.coverage == 1
    np.testing.assert_allclose(joined.values, whole.values, atol=2e-3)


@pytest.mark.parametrize("frame", ["galactic", "fk5"])
def test_other_frames_show_the_same_object(tmp_path: Path, frame: str) -> None:
    position = SkyCoord(RA, DEC, unit="deg").transform_to(frame)
    at = (position.spherical.lon.deg, position.spherical.lat.deg)
    wcs = tangent_plane((120, 120), 0.06, at=at)
    if frame == "galactic":
        wcs.wcs.ctype = ["GLON-TAN", "GLAT-TAN"]
    else:
        wcs.wcs.radesys, wcs.wcs.equinox = "FK5", 2000.0
    rows, columns = np.indices((120, 120)) - 59.5
    spot = np.exp(-(rows**2 + columns**2) / 2 / 4**2)
    values = Layer.open("f160w", [surface(tmp_path / "a.fits", spot, wcs)]).stamp(RA, DEC, FIELD, SIZE).values
    place = [(values * axis).sum() / values.sum() for axis in np.indices((SIZE, SIZE)) - (SIZE - 1) / 2]
    assert place == pytest.approx([0, 0], abs=0.01)


@pytest.mark.parametrize("kind", [".fits.gz", ".fits.fz", "int16"])
def test_stored_forms_give_the_same_stamps(tmp_path: Path, kind: str) -> None:
    wcs = tangent_plane((200, 200), 0.06, turned=10)
    image = np.round(100 * galaxies(wcs, (200, 200), np.array([[RA, DEC]])) + 20)
    plain = surface(tmp_path / "plain.fits", image, wcs)
    header = wcs.to_header()
    header.update(SURFACE)
    name = tmp_path / f"a{kind if kind[0] == '.' else '.fits'}"
    if kind == ".fits.gz":
        with open(plain, "rb") as source, gzip.open(name, "wb") as target:
            shutil.copyfileobj(source, target)
    elif kind == ".fits.fz":
        whole = image.astype(np.int32)
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(whole, header)]).writeto(name)
    else:
        hdu = fits.PrimaryHDU(image, header)
        hdu.scale("int16", bzero=32768)
        hdu.writeto(name)
    expected, layer = Layer.open("f160w", [plain]), Layer.open("f160w", [str(name)])
    for shift in (0.0, 1.0, -1.5, 0.5, 2.0):  # More rows than the image has, so that it is copied on the way.
        made = layer.stamp(RA, DEC + shift / 3600, FIELD, SIZE)
        np.testing.assert_allclose(
            made.values, expected.stamp(RA, DEC + shift / 3600, FIELD, SIZE).values, rtol=1e-6
        )
    layer.close()


def test_another_filter_in_the_header_is_refused_unless_overridden(tmp_path: Path) -> None:
    wcs = tangent_plane((100, 100), 0.06)
    cards: dict[str, str | float] = {"FILTER1": "CLEAR1L", "FILTER2": "F814W"}
    name = surface(tmp_path / "a.fits", np.ones((100, 100)), wcs, **cards)
    Layer.open("f814w", [name])
    with pytest.raises(Refused, match=r"shows f814w, but it is given as f160w"):
        Layer.open("f160w", [name])
    Layer.open("f160w", [name], given=Given(override=True))


def test_unusable_mosaics_are_refused_with_the_file_and_the_reason(tmp_path: Path) -> None:
    wcs = tangent_plane((100, 100), 0.06)
    name = surface(tmp_path / "a.fits", np.ones((100, 100)), wcs)
    small = surface(tmp_path / "wht.fits", np.ones((25, 25)), wcs)
    away = surface(
        tmp_path / "away_wht.fits", np.ones((100, 100)), tangent_plane((100, 100), 0.06, at=(RA, DEC + 1))
    )
    fits.writeto(tmp_path / "plain.fits", np.ones((100, 100), np.float32), fits.Header(SURFACE))
    fits.writeto(tmp_path / "counts.fits", np.ones((100, 100)), wcs.to_header())
    cases: tuple[tuple[list[str], list[str], str], ...] = (
        ([str(tmp_path / "none.fits")], [], "none.fits: no such file"),
        ([str(tmp_path / "plain.fits")], [], "plain.fits: no celestial world coordinates"),
        ([str(tmp_path / "counts.fits")], [], "the unit is unknown"),
        ([name], [small], "25 x 25 pixels, but the image has 100 x 100"),
        ([name], [away], "another part of the sky"),
        ([name], [name, name], "2 files of weights for 1"),
    )
    for tiles, weights, reason in cases:
        with pytest.raises(Refused, match=reason):
            Layer.open("f160w", tiles, weights)
    with pytest.raises(Refused, match=r"spans 8.33 pixels of the mosaic in f160w"):
        Layer.open("f160w", [name]).stamp(RA, DEC, 0.5, SIZE)


@pytest.mark.parametrize("pixel_arcsec", [0.03, 0.06])
def test_the_noise_of_a_fine_turned_mosaic_is_that_of_exact_averages(
    tmp_path: Path, pixel_arcsec: float
) -> None:
    reproject = pytest.importorskip("reproject")
    field, size = 4.5, 24
    shape = (int(8 / pixel_arcsec),) * 2
    wcs = tangent_plane(shape, pixel_arcsec, turned=33)
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    exact = tangent_plane((size, size), field / size)
    expected, _ = reproject.reproject_exact((image, wcs), exact, shape_out=(size, size))
    name = surface(tmp_path / "noise.fits", image, wcs)
    difference = Layer.open("f160w", [name]).stamp(RA, DEC, field, size).values - expected
    assert difference.std() < 0.12 * expected.std()
