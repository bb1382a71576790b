"""Conversion of the units in image headers to µJy/arcsec²."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units
from numpy.typing import NDArray

from mergershift.archive import UNIT
from mergershift.core.errors import UserError

_COUNTS = re.compile(r"\b(counts?|cts?|electrons?|e-|adu|dn)\b", re.IGNORECASE)
_BEAM = re.compile(r"\bbeam\b", re.IGNORECASE)
_PREFIXES = {"micro": "u", "nano": "n", "milli": "m", "kilo": "k", "mega": "M"}
_JANSKYS = re.compile(r"\b(?:((?i:micro|nano|milli|kilo|mega))|([uµμnmkM]))?(?i:jansk(?:y|ys|ies))\b")
_WORDS = (
    (re.compile(r"\b(?:square|sq\.?) *(?=arc-?s|pix|deg)", re.IGNORECASE), "square "),
    (re.compile(r"\barc-?sec(?:ond)?s?(?![a-z])", re.IGNORECASE), "arcsec"),
    (re.compile(r"\bpix(?:el)?s?(?![a-z])", re.IGNORECASE), "pix"),
    (re.compile(r"\bsteradians?\b", re.IGNORECASE), "sr"),
    (re.compile(r"\bsquare (\w+)"), r"\1^2"),
    (re.compile(r"\s+per\s+", re.IGNORECASE), "/"),
)
"""Words that header authors write out, and the symbols that `astropy.units` parses."""
_WANTED = units.Unit(UNIT)
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
    for per_pixel in (linear * units.pix, linear):
        if per_pixel.is_equivalent(units.Jy):
            if pixel_arcsec2 is None:
                raise Refused(f"unit {text} is per pixel, but the pixel scale is unknown")
            return Brightness(_factor(per_pixel.to(units.uJy) / pixel_arcsec2), magnitudes)
    raise Refused(_why_not(text, linear))


def _factor(value: float) -> float:
    return 1.0 if abs(value - 1) < 1e-12 else float(value)


def _parsed(text: str) -> Any:
    for pattern in (_COUNTS, _BEAM):
        if pattern.search(text):
            raise Refused(_why_not(text, None))
    for notation in (text, _symbols(text)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy warns of deprecated notations.
                return units.Unit(notation)
        except (ValueError, TypeError):
            continue
    raise Refused(f"unit '{text}' is unknown; expected {_ACCEPTED}")


def _symbols(text: str) -> str:
    """Replace words by symbols, as in microjanskies/arcsec^2, the unit in the headers of the archive."""
    text = _JANSKYS.sub(lambda found: f"{_PREFIXES.get((found[1] or '').lower(), found[2] or '')}Jy", text)
    for words, symbol in _WORDS:
        text = words.sub(symbol, text)
    return text


def _why_not(text: str, unit: Any) -> str:
    if _COUNTS.search(text):
        return f"{text} are detector counts, which give no surface brightness without a zero point"
    if _BEAM.search(text):
        return f"{text} is per beam, whose area is unknown; convert the images to a surface brightness"
    if unit is not None and unit.is_equivalent(units.mag / units.arcsec**2):
        return f"{text} has no zero point; AB magnitudes are written mag(AB/arcsec2)"
    per_wavelength = units.Unit("erg s-1 cm-2 AA-1")
    if unit is not None and any(
        unit.is_equivalent(per_wavelength / area) for area in (1, units.pix, units.arcsec**2)
    ):
        return f"{text} is per wavelength; convert the images to a flux density per frequency"
    return f"{text} is not a surface brightness; expected {_ACCEPTED}"
