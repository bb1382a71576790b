"""Conversions of units, compared with calculations by hand."""

import numpy as np
import pytest

from mergershift.predicting.units import Refused, brightness, is_counts, is_rate, is_usable, stated_unit

ARCSEC2_PER_SR = (180 / np.pi * 3600) ** 2
PIXEL = 0.03**2
VALUES = np.array([[-2.5, 0.0], [1.0, 30.0]])


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        ("uJy / arcsec2", 1.0),
        ("uJy/arcsec**2", 1.0),
        ("µJy arcsec-2", 1.0),
        ("nJy/arcsec2", 1e-3),
        ("microjanskies/arcsec^2", 1.0),
        ("MicroJanskys arcsec-2", 1.0),
        ("uJansky/arcsec**2", 1.0),
        ("microjansky per square arcsecond", 1.0),
        ("nanojanskies / sq. arcsec", 1e-3),
        ("MJanskys/steradian", 1e12 / ARCSEC2_PER_SR),
        ("mJanskys/arcseconds^2", 1e3),
        ("nanojanskys per pixel", 1e-3 / PIXEL),
        ("nJy/pixels", 1e-3 / PIXEL),
        ("MJy/sr", 1e12 / ARCSEC2_PER_SR),
        ("nJy/pixel", 1e-3 / PIXEL),
        ("uJy / pix", 1 / PIXEL),
        ("10*nJy", 1e-2 / PIXEL),
        ("erg/s/cm2/Hz/arcsec2", 1e29),
        ("ergs/s/cm2/Hz/arcsec2", 1e29),
        ("MJY/SR", 1e12 / ARCSEC2_PER_SR),
        ("MJY SR-1", 1e12 / ARCSEC2_PER_SR),
        ("UJY/ARCSEC2", 1.0),
        ("NJY/PIXEL", 1e-3 / PIXEL),
        ("nJy/pix2", 1e-3 / PIXEL),
        ("10.0*nanoJansky", 1e-2 / PIXEL),
        ("nanoJanskies", 1e-3 / PIXEL),
        ("1E-09 JY", 1e-3 / PIXEL),
        ("nanomaggy", 3.631 / PIXEL),
        ("nanomaggies per pixel", 3.631 / PIXEL),
        ("NMGY", 3.631 / PIXEL),
        ("nMgy", 3.631 / PIXEL),
        ("1e-3*nanomaggies", 3.631e-3 / PIXEL),
        ("nmgy/arcsec2", 3.631),
    ],
)
def test_linear_units(text: str, factor: float) -> None:
    np.testing.assert_allclose(brightness(text, PIXEL)(VALUES), VALUES * factor, rtol=1e-4)


def test_the_archives_own_unit_changes_nothing() -> None:
    assert brightness("uJy / arcsec2", None).same
    assert brightness("microjanskies/arcsec^2", None).same
    assert brightness("uJy / arcsec2", None)(VALUES) is VALUES


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("mag(AB/arcsec2)", 1.0),
        ("AB mag/arcsec2", 1.0),
        ("ABmag arcsec^-2", 1.0),
        ("mag(AB)/arcsec**2", 1.0),
        ("MAG_AB/ARCSEC2", 1.0),
        ("mag/arcsec2 (AB)", 1.0),
        ("AB magnitudes per square arcsecond", 1.0),
        ("mag(AB/pix)", PIXEL),
        ("mag(AB)", PIXEL),
        ("AB mag", PIXEL),
    ],
)
def test_ab_magnitudes(text: str, area: float) -> None:
    magnitudes = np.array([20.0, 25.0, np.inf, np.nan])
    expected = 10 ** (-0.4 * (magnitudes - 23.9)) / area  # 1 µJy is 23.9 mag.
    np.testing.assert_allclose(brightness(text, PIXEL)(magnitudes), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    ["counts/s", "ELECTRONS/S", "electron / s", "e-/s", "e/s", "cps", "DN", "adu", "ct/pix", "photons s-1"],
)
def test_counts_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="zero point"):
        brightness(text, PIXEL)
    assert is_counts(text)
    assert not is_usable(text)
    assert is_rate(text) == any(by_second in text.lower() for by_second in ("/s", "/ s", "cps", "s-1"))


@pytest.mark.parametrize("text", ["", " ", "none", "N/A", "UNKNOWN", "1", "dimensionless", "--"])
def test_words_for_no_unit(text: str) -> None:
    assert stated_unit(text) is None
    assert stated_unit(None) is None
    assert stated_unit(" nJy ") == "nJy"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Jy/beam", "per beam"),
        ("JY/BEAM", "per beam"),
        ("mag/arcsec2", "no zero point"),
        ("mag", "no zero point"),
        ("MJY/PIXEL", "milli- or mega"),
        ("mjy/sr", "milli- or mega"),
        ("erg/s/cm2/AA", "per wavelength"),
        ("erg/s/cm2/AA/arcsec2", "per wavelength"),
        ("K", "not a surface brightness"),
        ("furlong/fortnite", "is unknown"),
        ("janskies/beam", "per beam"),
        ("microjanskies/furlong^2", "is unknown"),
    ],
)
def test_units_other_than_surface_brightness_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        brightness(text, PIXEL)


@pytest.mark.parametrize("text", ["nJy/pixel", "nJy", "mag(AB)"])
def test_units_per_pixel_need_the_pixel_scale(text: str) -> None:
    with pytest.raises(Refused, match="pixel scale"):
        brightness(text, None)
