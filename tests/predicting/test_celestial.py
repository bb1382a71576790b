"""World coordinates of stamps, compared with astropy's."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from predicting.headers import WORLD, header

from mergershift.predicting.celestial import World, read_world
from mergershift.predicting.units import Refused

RANDOM = np.random.default_rng(5)


def known(cards: dict[str, object]) -> World:
    world = read_world(header(cards))
    assert world is not None
    return world


@pytest.mark.parametrize("form", ["CD", "PC"])
@pytest.mark.parametrize("dec", [-88.0, -30.0, 0.0, 66.0])
def test_the_short_way_agrees_with_astropy(form: str, dec: float) -> None:
    ra = RANDOM.uniform(0, 360)
    turn, step = RANDOM.uniform(0, 2 * np.pi), RANDOM.uniform(0.02, 0.3) / 3600
    turned = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), 1.2 * np.cos(turn)]])
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra, "CRVAL2": dec}
    cards |= {"CRPIX1": RANDOM.uniform(-2000, 2000), "CRPIX2": RANDOM.uniform(-2000, 2000)}
    matrix = turned * (step if form == "CD" else 1)
    cards |= {f"{form}{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)}
    cards |= {} if form == "CD" else {"CDELT1": step, "CDELT2": step}
    world, reference = known(cards), WCS(header(cards))
    assert world.tangent is not None
    scales = (proj_plane_pixel_scales(reference) * units.deg).to_value(units.arcsec)
    assert world.scale == pytest.approx(scales[::-1], rel=1e-12)
    sky = reference.pixel_to_world(40, 50)
    np.testing.assert_allclose(world.position(50, 40), (sky.ra.deg, sky.dec.deg), rtol=0, atol=1e-10)
    np.testing.assert_allclose(world.place(sky.ra.deg, sky.dec.deg), (50, 40), rtol=0, atol=1e-5)
    assert np.isnan(world.place((ra + 180) % 360, -dec)).all()


TABLES = {"CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP", "CPERR1": 0.02, "D2IMDIS1": "LOOKUP", "AXISCORR": 1}


@pytest.mark.parametrize(
    ("cards", "remarks"),
    [
        ({"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 540360.0, "CRVAL2": 7920.0}, 0),
        ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2}, 0),
        ({"LONPOLE": 170.0}, 0),
        (TABLES | {"DP1.EXTVER": 1.0, "DP1.NAXES": 2.0, "DP2.EXTVER": 2.0, "DP2.NAXES": 2.0}, 1),
    ],
)
def test_other_coordinates_are_left_to_astropy(cards: dict[str, object], remarks: int) -> None:
    cards = WORLD | cards
    if cards.get("CUNIT1") == "arcsec":
        cards |= {"CD1_1": -0.06, "CD2_2": 0.06}
    world = known(cards)
    assert world.tangent is None
    assert len(world.remarks) == remarks
    assert world.scale == pytest.approx((0.06, 0.06))
    np.testing.assert_allclose(world.position(74.5, 74.5), (150.1, 2.2), atol=1e-7)
    np.testing.assert_allclose(world.place(150.1, 2.2), (74.5, 74.5), atol=1e-4)


def test_lengths_are_sizes_in_kpc_unless_they_are_those_of_a_detector() -> None:
    cards = {"CTYPE1": "x", "CTYPE2": "y", "CUNIT1": "pc", "CUNIT2": "kpc", "CDELT1": 800.0, "CDELT2": 0.4}
    world = known(cards)
    assert world.scale is None
    assert world.kpc == pytest.approx((0.4, 0.8))
    assert not world.celestial
    assert read_world(header(cards | {"CUNIT1": "mm", "CUNIT2": "mm"})) is None


def test_headers_without_a_scale() -> None:
    assert read_world(header({})) is None
    assert read_world(header({"CDELT1": 1.0, "CDELT2": 1.0, "CRPIX1": 0.0})) is None
    assert read_world(header({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR", "CDELT1": 1.0, "CDELT2": 1.0})) is None
    with pytest.raises(Refused, match="invalid world coordinates"):
        read_world(header(WORLD | {"CD1_1": 0.0}))
