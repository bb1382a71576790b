"""Descriptions of planes by headers as pipelines and libraries write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from predicting.headers import F160W, PIXEL, SHAPE, WORLD, header

from mergershift.predicting.fits_headers import REDSHIFTS, describe_plane, identity_of, redshift_of
from mergershift.predicting.flags import Flag
from mergershift.predicting.pixel_scales import KPC_SCALES, PAIRS, SCALES
from mergershift.predicting.planes import Plane
from mergershift.predicting.positions import NAMES, POSITIONS
from mergershift.predicting.units import Refused
from mergershift.predicting.zero_points import MAGNITUDES

COLUMN = 60.25
RA = 150.1 - (COLUMN - 74.5) * PIXEL / 3600 / np.cos(np.radians(2.2))
"""Right ascension of an object that is left of the centre of `WORLD`, at the row of the centre."""


def described(
    cards: dict[str, Any], primary: dict[str, Any] | None = None, shape: tuple[int, int] = SHAPE
) -> Plane:
    return describe_plane(header(cards, shape), header(primary or {}), shape)


@pytest.mark.parametrize(
    ("cards", "scale"),
    [
        ({"PIXAR_A2": 0.0036}, (0.06, 0.06)),
        ({"PIXAR_SR": 0.0036 / 206264.806**2}, (0.06, 0.06)),
        ({"PIXSIZE": 0.06}, (0.06, 0.06)),
        ({"SECPIX1": -0.06, "SECPIX2": 0.07}, (0.07, 0.06)),
        ({"PIXSCAL1": 0.06}, (0.06, 0.06)),
        ({"PIXSCAL1": (0.06, "Pixel scale for axis 1 (arcsec/pixel)"), "PIXSCAL2": 0.06}, (0.06, 0.06)),
        ({"PIXSCALE": "0.06 arcsec/pix"}, (0.06, 0.06)),
        ({"PIXELSCL": 0.06, "CDELT1": 1.0, "CDELT2": 1.0}, (0.06, 0.06)),
        ({"SCALE": (0.06, "pixel size (arcsec) of output image")}, (0.06, 0.06)),
        ({"PIXSCALE": (60.0, "mas/pixel")}, (0.06, 0.06)),
        ({"PIXSCALE": (60.0, "milliarcsec")}, (0.06, 0.06)),
        ({"PIXSCALE": 0.0, "SECPIX": 0.06}, (0.06, 0.06)),
        ({"SCALE": 0.06}, None),
        ({"PIXSIZE": 15.0}, None),
        ({"PIXSIZE": (0.018, "[mm] of the detector")}, None),
        ({"PIXSCALE": (0.8, "kpc/pixel")}, None),
    ],
)
def test_cards_of_the_pixel_scale(cards: dict[str, Any], scale: tuple[float, float] | None) -> None:
    assert described(cards).pixel_arcsec == (None if scale is None else pytest.approx(scale, rel=1e-6))


@pytest.mark.parametrize(
    ("cards", "contradicted"),
    [
        ({}, False),
        ({"PIXSCALE": 0.0605}, False),
        ({"PIXSCALE": 0.13}, True),
        ({"PIXSCALE": (0.8, "kpc/pixel")}, False),
        ({"SECPIX1": -0.06, "SECPIX2": 0.07}, True),
        ({"PIXAR_A2": 0.01}, True),
        ({"PIXSIZE": 15.0}, False),
        ({"CDELT1": 1.0, "CDELT2": 1.0}, False),
        ({"CDELT1": -PIXEL / 3600, "CDELT2": PIXEL / 3600}, False),
        ({"CDELT1": -0.05 / 3600, "CDELT2": 0.05 / 3600}, True),
        ({"CDELT1": 0.0, "CDELT2": 0.0}, False),
    ],
)
def test_scales_that_contradict_the_world_coordinates_are_flagged(
    cards: dict[str, Any], contradicted: bool
) -> None:
    plane = described(WORLD | cards)
    assert plane.pixel_arcsec == pytest.approx((PIXEL, PIXEL), rel=1e-6)
    assert plane.flags == ((Flag("scales contradict"),) if contradicted else ())


@pytest.mark.parametrize(
    ("cards", "kpc"),
    [
        ({"PIXSCALE": (0.8, "kpc/pixel")}, 0.8),
        ({"PIXSCALE": (800.0, "[pc] pixel scale")}, 0.8),
        ({"PIXSIZE": (0.8, "physical kpc per pixel")}, 0.8),
        ({"PIXKPC": 0.8}, 0.8),
        ({"FOV_KPC": 120.0}, 0.8),
        ({"CTYPE1": "x", "CTYPE2": "y", "CUNIT1": "kpc", "CUNIT2": "kpc", "CDELT1": 0.8, "CDELT2": 0.8}, 0.8),
        ({"PIXSCALE": (0.8, "comoving kpc")}, None),
        ({"PIXSCALE": (0.8, "ckpc/h")}, None),
    ],
)
def test_cards_in_kpc(cards: dict[str, Any], kpc: float | None) -> None:
    plane = described(cards)
    assert plane.pixel_arcsec is None
    assert plane.pixel_kpc == (None if kpc is None else pytest.approx((kpc, kpc)))


def test_world_coordinates_of_the_file_are_used_if_the_image_has_none() -> None:
    for own in ({}, {"CDELT1": 1.0, "CDELT2": 1.0}, {"PIXAR_A2": 0.01}):
        assert described(own, WORLD).pixel_arcsec == pytest.approx((PIXEL, PIXEL))
    assert described(WORLD | {"PIXAR_A2": 0.01}).pixel_arcsec == pytest.approx((PIXEL, PIXEL))


@pytest.mark.parametrize(
    "cards",
    [
        {"RA_OBJ": RA, "DEC_OBJ": 2.2},
        {"RA_TARG": RA, "DEC_TARG": 2.2},
        {"RA": SkyCoord(RA, 2.2, unit="deg").ra.to_string("hour", sep=":", precision=6), "DEC": "+02:12:00"},
        {
            "OBJCTRA": SkyCoord(RA, 2.2, unit="deg").ra.to_string("hour", sep=" ", precision=6),
            "OBJCTDEC": "+02 12 00",
        },
        {"RA": (RA / 15, "[hours] right ascension"), "DEC": 2.2},
        {"RA_OBJ": RA, "DEC_OBJ": 2.2, "RA_TARG": 150.1, "DEC_TARG": 2.2},
        {"RA_TARG": RA, "DEC_TARG": 2.2, "RA": 150.5, "DEC": 2.2},
        {"LTV1": -1000.0, "LTV2": -2000.0, "X_IMAGE": COLUMN + 1001, "Y_IMAGE": 2075.5},
    ],
)
def test_the_object_is_found_through_the_world_coordinates(cards: dict[str, Any]) -> None:
    for split in (False, True):
        plane = described(WORLD if split else WORLD | cards, cards if split else {})
        assert plane.centre == pytest.approx((74.5, COLUMN), abs=1e-2)
        assert len(plane.remarks) == 1
        found = identity_of((header(WORLD), header(cards)) if split else (header(WORLD | cards),), "a.fits")
        assert (found.ra, found.dec) == pytest.approx((RA, 2.2), abs=1e-6)


@pytest.mark.parametrize(
    "cards",
    [{}, {"RA_TARG": 151.0, "DEC_TARG": 2.2}, {"RA_TARG": 0.0, "DEC_TARG": 0.0}, {"RA": "n/a", "DEC": 2.2}],
)
def test_positions_outside_of_the_image_are_those_of_a_larger_one(cards: dict[str, Any]) -> None:
    assert described(WORLD | cards).centre is None
    found = identity_of((header(WORLD | cards),), "a.fits")
    assert (found.ra, found.dec) == pytest.approx((150.1, 2.2))


def test_the_reference_pixel_of_a_trimmed_stamp_was_its_centre() -> None:
    trimmed = WORLD | {"CRPIX1": 251.0, "CRPIX2": 131.0}
    assert described(trimmed, shape=(381, 501)).centre == (130.0, 250.0)
    assert described(trimmed | {"CRPIX2": 90.0}, shape=(381, 501)).centre is None
    assert described(trimmed, shape=(501, 501)).centre is None


@pytest.mark.parametrize(
    ("cards", "redshift"),
    [
        ({"REDSHIFT": 2.1}, 2.1),
        ({"ZSPEC": 2.1, "ZPHOT": 1.0}, 2.1),
        ({"REDSHIFT": -99.0, "ZPHOT": 2.1}, 2.1),
        ({"Z": "2.1"}, 2.1),
        ({"Z_BEST": 2.1}, 2.1),
        ({"X": 10.0, "Y": 12.0, "Z": (2.1, "spectroscopic redshift")}, 2.1),
        ({"X": 10.0, "Y": 12.0, "Z": 3.0}, None),
        ({"Z": (3.0, "z coordinate [kpc]")}, None),
        ({"ZPHOT": (25.0, "photometric zero point")}, None),
        ({"REDSHIFT": -99.0}, None),
        ({"REDSHIFT": "N/A"}, None),
        ({}, None),
    ],
)
def test_redshifts(cards: dict[str, Any], redshift: float | None) -> None:
    assert redshift_of((header({}), header(cards))) == redshift


@pytest.mark.parametrize(
    ("cards", "name"),
    [
        ({"OBJECT": "UDF-12"}, "UDF-12"),
        ({"ID": 4711}, "4711"),
        ({"TARGNAME": "GOODS-S", "OBJECT": ""}, "GOODS-S"),
        ({"TARGNAME": "ANY", "OBJECT": "unknown"}, "g0_f814w"),
    ],
)
def test_names(cards: dict[str, Any], name: str) -> None:
    for headers in ((header(cards), header({})), (header({}), header(cards))):
        found = identity_of(headers, "folder/g0_f814w.fits.gz")
        assert (found.id, found.file) == (name, "folder/g0_f814w.fits.gz")
        assert np.isnan(found.ra)


def test_positions_in_other_frames_are_converted() -> None:
    galactic = SkyCoord(150.1, 2.2, unit="deg").galactic
    world = WORLD | {
        "CTYPE1": "GLON-TAN",
        "CTYPE2": "GLAT-TAN",
        "CRVAL1": galactic.l.deg,
        "CRVAL2": galactic.b.deg,
    }
    old = WORLD | {"RADESYS": "FK4", "EQUINOX": 1950.0}
    expected = SkyCoord(150.1, 2.2, unit="deg", frame="fk4").icrs
    for cards, ra, dec in ((world, 150.1, 2.2), (old, expected.ra.deg, expected.dec.deg)):
        found = identity_of((header(cards),), "a.fits")
        assert (found.ra, found.dec) == pytest.approx((ra, dec), abs=1e-6)


def test_the_point_spread_function_needs_a_unit() -> None:
    assert described({"PSF_FWHM": 0.12}).psf_arcsec == 0.12
    assert described({"FWHM": (2.0, "pixels"), "PIXSCALE": 0.06}).psf_arcsec == pytest.approx(0.12)
    assert described({"FWHM": (0.12, "[arcsec]")}).psf_arcsec == 0.12
    assert described({"FWHM": 2.0}).psf_arcsec is None


def test_a_drizzled_image_as_mast_hands_it_out() -> None:
    primary = {
        "TELESCOP": "HST",
        "TARGNAME": "GOODS-S",
        "RA_TARG": 53.1,
        "DEC_TARG": -27.8,
        "EXPTIME": 1000.0,
    }
    plane = described(WORLD | {"BUNIT": "ELECTRONS/S", "EXTNAME": "SCI"} | F160W, primary)
    assert plane.jansky == pytest.approx(1.5206e-7, rel=1e-4)
    assert plane.centre is None
    assert plane.remarks == ("zero point PHOTFLAM = 1.93e-20 at PHOTPLAM = 1.537e+04",)


@pytest.mark.parametrize(
    ("cards", "primary", "unit"),
    [
        ({"BUNIT": "nJy"}, {"BUNIT": "counts"}, "nJy"),
        ({"BUNIT": ""}, {"BUNIT": "MJy/sr"}, "MJy/sr"),
        ({"BUNIT": "UNKNOWN", "UNITS": "uJy/arcsec2"}, {}, "uJy/arcsec2"),
        ({"UNIT": "kpc"}, {}, None),
        ({"BUNIT": "furlong", "UNIT": "nJy"}, {}, "furlong"),
    ],
)
def test_units(cards: dict[str, Any], primary: dict[str, Any], unit: str | None) -> None:
    assert described(cards, primary).unit == unit


VALUES = (
    None,
    True,
    0,
    -99,
    1e300,
    1e-300,
    "",
    "abc",
    "1:2",
    "99:99:99",
    "10h00m00s",
    "nan",
    "1e400",
    "2.0D0",
    "0*Jy",
)
COMMENTS = ("", "kpc", "[mas/pixel]", "hours", "in m", "%", "per", "[[]]", "ckpc/h")


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
def test_any_value_of_any_card_gives_valid_properties_or_a_reason() -> None:
    random = np.random.default_rng(3)
    names = [
        *POSITIONS[0],
        *POSITIONS[-1],
        *REDSHIFTS,
        *MAGNITUDES,
        *SCALES,
        *PAIRS[0],
        *KPC_SCALES,
        *NAMES,
        *WORLD,
    ]
    names += [
        "BUNIT",
        "PHOTFNU",
        "PHOTFLAM",
        "PHOTPLAM",
        "FLUXMAG0",
        "EXPTIME",
        "PIXAR_A2",
        "RADESYS",
        "EQUINOX",
    ]
    for _ in range(150):
        cards: dict[str, Any] = dict(WORLD) if random.random() < 0.7 else {}
        for name in random.choice(names, 5):
            cards[name] = VALUES[random.integers(len(VALUES))], COMMENTS[random.integers(len(COMMENTS))]
        try:
            plane = described(cards)
        except Refused:  # Invalid world coordinates.
            continue
        assert plane.jansky is None or 0 < plane.jansky < np.inf
        assert plane.centre is None or np.isfinite(plane.centre).all()
        redshift = redshift_of((header(cards),))
        assert redshift is None or 0 < redshift < np.inf
        assert identity_of((header(cards),), "a.fits").id
