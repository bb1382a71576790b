"""Conversion of the units in image headers to µJy/arcsec²."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from astropy import units
from numpy.typing import NDArray

from mergershift.archive import UNIT
from mergershift.core.errors import UserError

_COUNTS = re.compile(
    r"(?<![a-z\d.])(?:counts?|cts?|cps|photo-?electrons?|electrons?|photons?|e-|e(?= */)|adus?|dns?)(?![a-z])",
    re.IGNORECASE,
)
_RATE = re.compile(r"/ *s(?:ec(?:ond)?s?)?\b|\bs(?:ec)? ?(?:\*\*|\^)? ?-1\b|\bper sec|cps\b", re.IGNORECASE)
_NOTHING = re.compile(
    r"(?:none|n/?a|null|unknown|undefined|unitless|dimensionless|arbitrary|1|-+)?", re.IGNORECASE
)
"""What is written where there is no unit."""
_BEAM = re.compile(r"\bbeam\b", re.IGNORECASE)
_PREFIXES = {"micro": "u", "nano": "n", "milli": "m", "kilo": "k", "mega": "M"}
_JANSKYS = re.compile(
    r"\b(?:((?i:micro|nano|milli|kilo|mega))[ -]?|([uµμnmkM]))?(?i:jansk(?:y|ys|ies)|jys?)\b"
)
_CAPITALS = re.compile(r"\b([UN]?)JY\b")
_AMBIGUOUS = re.compile(r"\bMJY\b|\bmjy\b")
_MEGA = re.compile(r"\bMJY(?= *(?:/ *SR|SR *(?:\*\*|\^)? *-1))")
"""A prefix in capitals: of M, which is mega or milli, only by steradian, where nobody writes milli."""
_MAGGIES = re.compile(r"\b(?:nano[ -]?|n)?(?:magg(?:y|ys|ie|ies)|mgys?)\b", re.IGNORECASE)
_AB = re.compile(r"\( *AB *\)|_?AB\b|\bAB_?(?=mag)", re.IGNORECASE)
_MAGNITUDES = re.compile(r"\bmag(?:nitude)?s?(?![a-z(])", re.IGNORECASE)
_WORDS = (
    (re.compile(r"\bper\s+", re.IGNORECASE), "/"),
    (re.compile(r"\b(?:square|sq\.?) *(?=arc-?s|pix|deg)", re.IGNORECASE), "square "),
    (re.compile(r"\barc-?sec(?:ond)?s?(?![a-z])|\basec(?![a-z])", re.IGNORECASE), "arcsec"),
    (re.compile(r"\bpix(?:el)?s?(?![a-z])", re.IGNORECASE), "pix"),
    (re.compile(r"\b(?:sr|ster(?:ad(?:ian)?)?s?)(?![a-z])", re.IGNORECASE), "sr"),
    (re.compile(r"\bsquare (\w+)"), r"\1^2"),
    (re.compile(r"\bergs(?![a-z])", re.IGNORECASE), "erg"),
)
"""Words that header authors write out, and the symbols that `astropy.units` parses."""
_WANTED = units.Unit(UNIT)
_MAGGY = units.Unit("maggy")
_AB_FLUX = units.Unit(3631 * units.Jy)
"""Flux density of magnitude 0 in the AB system (Oke & Gunn 1983, ApJ 266, 713)."""
_ACCEPTED = f"{UNIT}, MJy/sr, nJy/pixel or mag(AB/arcsec2)"


class Refused(UserError):
    """Raised for images that cannot be converted to the model's format; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Brightness:
    """Conversion of pixel values to µJy/arcsec²."""

    factor: float
    magnitudes: Any = None
    """The unit as an `astropy.units.MagUnit` if it is logarithmic, else None."""

    @property
    def same(self) -> bool:
        """Whether the conversion leaves values unchanged."""
        return self.factor == 1 and self.magnitudes is None

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert values to µJy/arcsec²; NaN magnitudes stay NaN."""
        if self.same:
            return values
        with np.errstate(over="ignore"):
            if self.magnitudes is not None:
                values = self.magnitudes.to(self.magnitudes.physical_unit, values)
            converted: NDArray[np.float64] = values * self.factor
        return converted


def brightness(text: str, pixel_arcsec2: float | None) -> Brightness:
    """Parse a unit and return its conversion.

    Args:
        text: Value of BUNIT, in a notation of `astropy.units` or in words. A plain flux density such as nJy is
            interpreted as per pixel.
        pixel_arcsec2: Area of a pixel in arcsec²; None if unknown.

    Raises Refused for counts, fluxes per beam or per wavelength, magnitudes without a zero point and other units that
    are not a surface brightness, and for fluxes per pixel if the area is unknown.
    """
    unit = _parsed(text)
    linear = unit.physical_unit if isinstance(unit, units.function.FunctionUnitBase) else unit
    magnitudes = None if linear is unit else unit
    if linear.is_equivalent(_WANTED):
        return Brightness(_factor(linear.to(_WANTED)), magnitudes)
    for per_pixel in (linear * units.pix, linear * units.pix**2, linear):
        if per_pixel.is_equivalent(units.Jy):
            if pixel_arcsec2 is None:
                raise Refused(f"unit {text} is per pixel, but the pixel scale is unknown")
            return Brightness(_factor(per_pixel.to(units.uJy) / pixel_arcsec2), magnitudes)
    raise Refused(_why_not(text, linear))


def is_counts(text: str) -> bool:
    """Return whether a unit is one of what a detector counts, as a total or by second."""
    return bool(_COUNTS.search(text))


def is_rate(text: str) -> bool:
    """Return whether a unit is by second."""
    return bool(_RATE.search(text))


@lru_cache(maxsize=256)
def is_usable(text: str) -> bool:
    """Return whether a unit is one of flux or surface brightness, so that no zero point is needed."""
    try:
        brightness(text, 1.0)
    except Refused:
        return False
    return True


def janskys(text: str) -> float | None:
    """Return the flux density in Jy of a unit of flux by pixel; None for other units."""
    try:
        unit = _parsed(text)
    except Refused:
        return None
    for per_pixel in (unit * units.pix, unit):
        if per_pixel.is_equivalent(units.Jy):
            return float(per_pixel.to(units.Jy))
    return None


def stated_unit(value: Any) -> str | None:
    """Read the value of BUNIT; None if it says that there is no unit."""
    text = "" if value is None else str(value).strip()
    return None if _NOTHING.fullmatch(text) else text


def from_zero_point(jansky: float, pixel_arcsec2: float | None) -> Brightness:
    """Convert pixels whose value 1 is a flux density in Jy; raises Refused if their area is unknown."""
    if pixel_arcsec2 is None:
        raise Refused("the zero point gives the flux of a pixel, but the pixel scale is unknown")
    return Brightness(_factor(jansky * 1e6 / pixel_arcsec2))


def _factor(value: float) -> float:
    if not value > 0:
        raise Refused("the unit is a multiple by 0, to which a small number has been rounded")
    return 1.0 if abs(value - 1) < 1e-12 else float(value)


@lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    if is_counts(text) or _BEAM.search(text):
        raise Refused(_why_not(text, None))
    symbols = _symbols(text)
    if _AMBIGUOUS.search(symbols):
        raise Refused(f"unit {text} may be in milli- or megajanskys; write mJy or MJy")
    # astropy reads `AB mag` as a product of two units.
    product = symbols.startswith("mag(AB")
    for notation in (symbols,) if product else (text, symbols):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy warns of deprecated notations.
                unit = units.Unit(notation)
        except (ValueError, TypeError):
            continue
        return _in_janskys(unit)
    raise Refused(f"unit '{text}' is unknown; expected {_ACCEPTED}")


def _in_janskys(unit: Any) -> Any:
    """Replace maggies, the unit of SDSS, by their flux density."""
    if isinstance(unit, units.function.FunctionUnitBase):
        return unit
    plain = unit.decompose()
    if _MAGGY not in plain.bases:
        return unit
    power = plain.powers[plain.bases.index(_MAGGY)]
    return unit / _MAGGY**power * _AB_FLUX**power


def _symbols(text: str) -> str:
    """Replace words by symbols, as in microjanskies/arcsec^2, the unit in the headers of the archive."""
    text = _MEGA.sub("MJy", text.strip())
    if _AMBIGUOUS.search(text):
        return text
    text = _CAPITALS.sub(lambda found: f"{found[1].lower()}Jy", text)
    text = _JANSKYS.sub(lambda found: f"{_PREFIXES.get((found[1] or '').lower(), found[2] or '')}Jy", text)
    text = _MAGGIES.sub(lambda found: "nmgy" if found[0][0] in "nN" else "mgy", text)
    for words, symbol in _WORDS:
        text = words.sub(symbol, text)
    if _AB.search(text):
        area, found = _MAGNITUDES.subn("", _AB.sub("", text))
        if found:
            return f"mag(AB{area.replace('()', '').rstrip()})"
    return text


def _why_not(text: str, unit: Any) -> str:
    if is_counts(text):
        return f"{text} are detector counts, which give no surface brightness without a zero point"
    if _BEAM.search(text):
        return f"{text} is per beam, whose area is unknown; convert the images to a surface brightness"
    if unit is not None and any(
        unit.is_equivalent(units.mag / area) for area in (1, units.pix, units.arcsec**2)
    ):
        return f"{text} has no zero point; AB magnitudes are written mag(AB/arcsec2)"
    per_wavelength = units.Unit("erg s-1 cm-2 AA-1")
    if unit is not None and any(
        unit.is_equivalent(per_wavelength / area) for area in (1, units.pix, units.arcsec**2)
    ):
        return f"{text} is per wavelength; convert the images to a flux density per frequency"
    return f"{text} is not a surface brightness; expected {_ACCEPTED}"
