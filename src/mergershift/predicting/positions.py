"""Names and positions of objects in FITS headers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from astropy import units
from astropy.coordinates import FK4, Angle, SkyCoord
from astropy.io.fits import Header

from mergershift.predicting.cards import Same, names_in, numbers, positive, text
from mergershift.predicting.celestial import World
from mergershift.predicting.planes import Pair

POSITIONS = (
    ("RA_OBJ", "DEC_OBJ"),
    ("RAOBJ", "DECOBJ"),
    ("OBJ_RA", "OBJ_DEC"),
    ("OBJRA", "OBJDEC"),
    ("RA_SRC", "DEC_SRC"),
    ("SRC_RA", "SRC_DEC"),
    ("SRCRA", "SRCDEC"),
    ("RA_TARG", "DEC_TARG"),
    ("TARG_RA", "TARG_DEC"),
    ("TARGRA", "TARGDEC"),
    ("RA_GAL", "DEC_GAL"),
    ("GAL_RA", "GAL_DEC"),
    ("RACENT", "DECCENT"),
    ("RA_CENT", "DEC_CENT"),
    ("RA_CEN", "DEC_CEN"),
    ("OBJCTRA", "OBJCTDEC"),
    ("ALPHA_J2000", "DELTA_J2000"),
    ("RA", "DEC"),
)
"""Keywords for the position of the object: of cutouts (astrocut), then of what the telescope was pointed at."""
PIXELS = (
    ("X_IMAGE", "Y_IMAGE"),
    ("XCENTER", "YCENTER"),
    ("X_OBJ", "Y_OBJ"),
    ("OBJ_X", "OBJ_Y"),
    ("XCEN", "YCEN"),
)
"""Keywords for the object's pixel, from 1, in the image of which this is a section according to LTV and LTM."""
NAMES = (
    "OBJECT",
    "ID",
    "OBJID",
    "OBJ_ID",
    "OBJECTID",
    "SRCID",
    "SOURCEID",
    "SOURCE",
    "NUMBER",
    "TARGNAME",
    "TARGET",
)
_SEXAGESIMAL = re.compile(r"\s*[-+]?\d+(?:[: hd°]+\s*\d+){1,2}")


class Place(NamedTuple):
    """The place of an object in an image."""

    centre: Pair
    """Row and column, where the centre of the first pixel is (0, 0)."""
    words: str
    """Where that comes from, for the record of the conversion."""


def place_of(world: World | None, headers: Sequence[Header], shape: tuple[int, int]) -> Place | None:
    """Find the object in an image; None if the headers do not say where it is, or if it is outside of the image.

    Positions outside are those of a larger image from which the header was copied.
    """
    if world is not None and world.celestial:
        for names, ra, dec in sky_positions(headers):
            place = world.place(ra, dec)
            if _inside(place, shape):
                return Place(place, f"centred on {names}")
    known = frozenset[str]().union(*map(names_in, headers))
    for x, y in PIXELS:
        if x not in known or y not in known:
            continue
        across, along = (next(numbers(headers, (name,)), None) for name in (x, y))
        if across is None or along is None:
            continue
        place = _in_section(headers, along.value, 2), _in_section(headers, across.value, 1)
        if _inside(place, shape):
            return Place(place, f"centred on {x}, {y}")
    return _of_trimmed(world, headers, shape)


def sky_positions(headers: Sequence[Header]) -> list[tuple[str, float, float]]:
    """Read all positions of the object: their keywords, right ascension and declination (ICRS) in degrees."""
    return [found for header in headers for found in _sky_positions_in(Same(header))]


@lru_cache(maxsize=16)
def _sky_positions_in(key: Same) -> tuple[tuple[str, float, float], ...]:
    header, found = key.header, []
    known = names_in(header)
    for ra_name, dec_name in POSITIONS:
        if ra_name not in known or dec_name not in known:
            continue
        ra, dec = _angle(header, ra_name, hours=True), _angle(header, dec_name, hours=False)
        if not (0 <= ra <= 360 and -90 <= dec <= 90) or (ra == 0 and dec == 0):
            continue
        found.append((f"{ra_name}, {dec_name}", *_in_icrs(header, ra, dec)))
    return tuple(found)


def name_of(headers: Sequence[Header]) -> str | None:
    """Read the name of the object; None if there is none."""
    known = frozenset[str]().union(*map(names_in, headers))
    for name in NAMES:  # A name in any header comes before those of keywords that are further down the list.
        if name not in known:
            continue
        found = text(headers, (name,))
        if found is not None:
            return found
    return None


def _inside(place: Pair, shape: tuple[int, int]) -> bool:
    return all(-0.5 <= side <= length - 0.5 for side, length in zip(place, shape, strict=True))


def _in_section(headers: Sequence[Header], value: float, axis: int) -> float:
    step = positive(headers, (f"LTM{axis}_{axis}",))
    shift = next(numbers(headers, (f"LTV{axis}",)), None)
    return value * (step.value if step else 1) + (shift.value if shift else 0) - 1


def _of_trimmed(world: World | None, headers: Sequence[Header], shape: tuple[int, int]) -> Place | None:
    """Take the reference pixel of a stamp that an edge has trimmed: it was the centre of a square."""
    side = max(shape)
    if world is None or not world.celestial or shape[0] == shape[1]:
        return None
    places = [next(numbers(headers, (f"CRPIX{axis}",)), None) for axis in (2, 1)]
    for card, length in zip(places, shape, strict=True):
        middle = (side + 1) / 2
        if card is None or min(abs(card.value - middle), abs(length + 1 - card.value - middle)) > 1:
            return None
    rows, columns = (card.value - 1 for card in places if card is not None)
    return Place((rows, columns), "centred on CRPIX1, CRPIX2") if _inside((rows, columns), shape) else None


def _angle(header: Header, name: str, *, hours: bool) -> float:
    """Read an angle in degrees, or in hours if its notation or comment says so; NaN if it cannot be read."""
    value = str(header[name]).strip()
    try:
        if _SEXAGESIMAL.match(value) or re.search(r"[hd]", value):
            degrees = "d" in value or "°" in value or not hours
            return float(Angle(value, unit=units.deg if degrees else units.hourangle).deg)
        number = float(value)
    except ValueError:
        return math.nan
    in_hours = hours and re.search(r"\bhours?\b|\[h\]|\bhms\b", header.comments[name], re.IGNORECASE)
    return number * 15 if in_hours else number


def _in_icrs(header: Header, ra: float, dec: float) -> tuple[float, float]:
    """Convert a position of the equinox B1950; FK5 at J2000 differs from ICRS by less than 0.03 arcsec."""
    equinox = next((card.value for card in numbers((header,), ("EQUINOX", "EPOCH"))), 2000.0)
    frame = str(header.get("RADESYS", header.get("RADECSYS", ""))).strip().upper()
    if not frame.startswith("FK4") and equinox != 1950.0:
        return ra, dec
    sky = SkyCoord(ra, dec, unit="deg", frame=FK4(equinox=f"B{equinox if equinox < 1984 else 1950:.1f}")).icrs
    return float(sky.ra.deg), float(sky.dec.deg)
