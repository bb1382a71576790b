"""Units of images: from what a header says to µJy/arcsec²."""

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
_WANTED = units.Unit(UNIT)
_ACCEPTED = f"{UNIT}, MJy/sr, nJy/pixel or mag(AB/arcsec2)"


class Refused(UserError):
    """Images that can't be taken for what the model takes; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Brightness:
    """Turns pixel values into µJy/arcsec²."""

    factor: float
    magnitudes: Any = None
    """The unit, where it is logarithmic: an `astropy.units.MagUnit`."""

    @property
    def same(self) -> bool:
        """Whether nothing changes."""
        return self.factor == 1 and self.magnitudes is None

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of the same shape in µJy/arcsec²; not finite where a magnitude is not."""
        if self.same:
            return values
        with np.errstate(over="ignore"):
            if self.magnitudes is not None:
                values = self.magnitudes.to(self.magnitudes.physical_unit, values)
            converted: NDArray[np.float64] = values * self.factor
        return converted


def brightness(text: str, pixel_arcsec2: float | None) -> Brightness:
    """Read a unit in any notation of `astropy.units`.

    Args:
        text: BUNIT. A plain flux density (nJy) is taken per pixel, as it can be nothing else in an image.
        pixel_arcsec2: area of a pixel, None where it is not known.

    Raises Refused on counts, beams, fluxes per wavelength, magnitudes without zero point, whatever else is no
    surface brightness, and on fluxes per pixel where the area is not known.
    """
    unit = _parsed(text)
    linear = unit.physical_unit if isinstance(unit, units.function.FunctionUnitBase) else unit
    magnitudes = None if linear is unit else unit
    if linear.is_equivalent(_WANTED):
        return Brightness(_factor(linear.to(_WANTED)), magnitudes)
    for per_pixel in (linear * units.pix, linear):
        if per_pixel.is_equivalent(units.Jy):
            if pixel_arcsec2 is None:
                raise Refused(f"{text} are per pixel and the pixel scale is not known")
            return Brightness(_factor(per_pixel.to(units.uJy) / pixel_arcsec2), magnitudes)
    raise Refused(_why_not(text, linear))


def _factor(value: float) -> float:
    return 1.0 if abs(value - 1) < 1e-12 else float(value)


def _parsed(text: str) -> Any:
    for pattern in (_COUNTS, _BEAM):
        if pattern.search(text):
            raise Refused(_why_not(text, None))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of notations that are deprecated
            return units.Unit(text)
    except (ValueError, TypeError):
        raise Refused(f"unit '{text}' is not known; expected {_ACCEPTED}") from None


def _why_not(text: str, unit: Any) -> str:
    if _COUNTS.search(text):
        return f"{text} are counts of the detector, that mean no brightness without their zero point"
    if _BEAM.search(text):
        return f"{text} is per beam, that has no area here; convert it to a surface brightness"
    if unit is not None and unit.is_equivalent(units.mag / units.arcsec**2):
        return f"{text} has no zero point; AB magnitudes are written mag(AB/arcsec2)"
    per_wavelength = units.Unit("erg s-1 cm-2 AA-1")
    if unit is not None and any(
        unit.is_equivalent(per_wavelength / area) for area in (1, units.pix, units.arcsec**2)
    ):
        return f"{text} is per wavelength; convert it to a flux density per frequency"
    return f"{text} is no surface brightness; expected {_ACCEPTED}"
