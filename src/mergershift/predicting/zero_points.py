"""Photometric zero points in FITS headers, for images in detector counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from astropy.io.fits import Header

from mergershift.predicting.cards import numbers, positive, text
from mergershift.predicting.units import is_counts, is_rate, is_usable, janskys

MAGNITUDES = (
    *("MAGZERO", "MAGZPT", "MAGZP", "MAG_ZP", "MAGZPAB", "MAG_ZERO", "MAG_0", "MAG0", "MAGZEROP"),
    *("ZP", "ZPT", "ZP_AB", "ZPAB", "AB_ZP", "ABZP", "ABMAGZP", "ABZPT", "PHOTZP", "PHOT_ZP", "ZPMAG"),
    *("ZEROPT", "ZEROPNT", "ZEROPOIN", "ZEROPOINT", "ZPOINT", "ZERO_PT", "SEXMGZPT", "SIMMAGZP"),
)
"""Keywords for the AB magnitude of the pixel value 1, the zero point of SExtractor."""
SYSTEMS = ("MAGSYS", "PHOTSYS", "PHOTSYST", "ZPSYS", "MAGTYPE", "PHOTTYPE")
_OTHER_SYSTEM = re.compile(r"\bvega\b|\bST\b|\bSTMAG|\b2MASS\b", re.IGNORECASE)
_VEGA_SURVEY = re.compile(r"2MASS|UKIRT|WFCAM|\bVISTA\b|VIRCAM|WISE", re.IGNORECASE)
"""Telescopes, cameras and surveys whose zero points are those of the Vega system unless the header says AB."""
_AB = re.compile(r"\bAB\b", re.IGNORECASE)
_BY_SECOND = re.compile(r"\bs(?:ec(?:ond)?s?)?\b", re.IGNORECASE)
_MULTIPLE = re.compile(r"\s*\d*\.(\d+) *\*? *(?=[A-Za-zµμ])")
_BRIGHTEST, _FAINTEST = 5.0, 45.0
"""Magnitudes beyond which a number is no zero point, but for instance a default of 0 or 99."""
AB_JANSKY = 3631.0
"""Flux density of magnitude 0 in the AB system (Oke & Gunn 1983, ApJ 266, 713)."""
FNU_OF_FLAM = 3.33564e4
"""Janskys of 1 erg/s/cm²/Å at 1 Å: 10^23 Å/c (HST Data Handbook; c in Å/s)."""


class ZeroPoint(NamedTuple):
    """A zero point that counts before the unit."""

    jansky: float
    """Flux density in Jy of the pixel value 1."""
    words: str
    """Where it comes from, for the record of the conversion."""


def zero_point(headers: Sequence[Header], unit: str | None, plane: int | None = None) -> ZeroPoint | None:
    """Find the zero point of pixel values; None if the unit counts, or if there is no zero point.

    A unit of flux or surface brightness counts before any zero point, which may be left over from the image in counts,
    unless it is a multiple of a unit that rounds PHOTFNU. For counts and unstated units come, in this order, PHOTFNU,
    PHOTFLAM with PHOTPLAM, FLUXMAG0 and AB magnitudes.

    Args:
        headers: Headers of the image and of its file, in the order of their precedence.
        unit: The unit; None if there is none.
        plane: Number of the plane, starting at 1, if the header describes several filters. Their zero points carry that
            number, or are AB magnitudes or FLUXMAG0 that all planes share.
    """
    if unit is not None and is_usable_or_rounded(unit):
        return _unrounded(headers, unit)
    if (unit is not None and not is_counts(unit)) or any("BSOFTEN" in header for header in headers):
        return None  # The pixels of Pan-STARRS are inverse hyperbolic sines of counts.
    own = "" if plane is None else str(plane)
    return (
        _photometric(headers, unit, own)
        or _magnitude(headers, own)
        or (_magnitude(headers, "") if own else None)
    )


def is_usable_or_rounded(unit: str) -> bool:
    """Return whether a unit counts, as it is or after its multiple has been replaced by that which it rounds."""
    return is_usable(unit) or (
        _MULTIPLE.match(unit) is not None and is_usable(_MULTIPLE.sub("", unit, count=1))
    )


def _unrounded(headers: Sequence[Header], unit: str) -> ZeroPoint | None:
    """Return PHOTFNU if a unit such as ``0.152*nanoJansky`` is PHOTFNU with fewer digits."""
    multiple, card = _MULTIPLE.match(unit), positive(headers, ("PHOTFNU",))
    if multiple is None or card is None:
        return None
    plain = janskys(unit[multiple.end() :])
    if plain is None:
        return None
    stated = float(multiple[0].rstrip(" *"))
    if abs(card.value / plain - stated) > 0.501 * 10.0 ** -len(multiple[1]) or card.value == stated * plain:
        return None
    return ZeroPoint(card.value, f"{unit} taken for PHOTFNU = {card.value:.4g} Jy, which it rounds")


def _photometric(headers: Sequence[Header], unit: str | None, number: str) -> ZeroPoint | None:
    """Read PHOTFNU, or PHOTFLAM and PHOTPLAM, which are for counts by second."""
    if card := positive(headers, (f"PHOTFNU{number}",)):
        jansky, words = card.value, f"zero point {card.name} = {card.value:.4g} Jy"
        by_second = not card.remark or _BY_SECOND.search(card.remark) is not None
    else:
        flam, pivot = (positive(headers, (f"{name}{number}",)) for name in ("PHOTFLAM", "PHOTPLAM"))
        if flam is None or pivot is None:
            return None
        jansky, by_second = FNU_OF_FLAM * pivot.value**2 * flam.value, True
        words = f"zero point {flam.name} = {flam.value:.4g} at {pivot.name} = {pivot.value:.4g}"
    if unit is not None and by_second and not is_rate(unit):
        exposure = positive(headers, ("EXPTIME", "TEXPTIME"))
        if exposure is None:
            return None
        jansky /= exposure.value
        words += f" for {exposure.name} = {exposure.value:g} s"
    return ZeroPoint(jansky, words)


def _magnitude(headers: Sequence[Header], number: str) -> ZeroPoint | None:
    """Read FLUXMAG0 or an AB magnitude, which are for pixel values as they are."""
    if card := positive(headers, (f"FLUXMAG0{number}" if number else "FLUXMAG0",)):
        return ZeroPoint(AB_JANSKY / card.value, f"zero point {card.name} = {card.value:.4g}")
    for card in numbers(headers, [f"{name}{number}" for name in MAGNITUDES]):
        if _BRIGHTEST < card.value < _FAINTEST and _is_ab(headers, card.remark):
            return ZeroPoint(
                AB_JANSKY * 10 ** (-0.4 * card.value), f"zero point {card.name} = {card.value:g} mag (AB)"
            )
    return None


def _is_ab(headers: Sequence[Header], remark: str) -> bool:
    system = f"{text(headers, SYSTEMS) or ''} {remark}"
    if _AB.search(system):
        return True
    origin = " ".join(
        str(header.get(name, "")) for header in headers for name in ("TELESCOP", "INSTRUME", "ORIGIN")
    )
    return not _OTHER_SYSTEM.search(system) and not _VEGA_SURVEY.search(origin)
