"""World coordinates of FITS headers: the size of pixels and places on the sky, for stamps by the thousand."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io.fits import Header
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from mergershift.core.errors import first_line
from mergershift.predicting.cards import Same, names_in
from mergershift.predicting.planes import Pair
from mergershift.predicting.units import Refused

_MATRIX = ("CDELT1", "CDELT2", "CD1_1", "CD1_2", "CD2_1", "CD2_2", "PC1_1", "PC1_2", "PC2_1", "PC2_2")
_PLAIN = (
    *("CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2", "RADESYS", "RADECSYS", "EQUINOX", "EPOCH", "LONPOLE"),
    *("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", *_MATRIX),
)
_TABULATED = re.compile(r"(?:CP|CQ)(?:DIS|ERR)\d|D2IM(?:DIS|ERR|EXT|ARR)|D[PQ]\d|AXISCORR")
"""Cards of distortions in look-up tables, which stamps do not have but their headers may."""
_OTHER = re.compile(rf"{_TABULATED.pattern}|[AB]P?_(?:ORDER|\d+_\d+)|PV\d|PROJP|CROTA")
"""Cards with which a header is not read by the short way."""
_ARCSEC = float(units.deg.to(units.arcsec))
_SMALLEST_PARSEC = 1.0
"""Sizes of pixels below this are those of a detector."""


@dataclass(frozen=True)
class World:
    """World coordinates of the first two axes of an image."""

    scale: Pair | None
    """Size of a pixel in arcsec; None if the axes are not angles."""
    kpc: Pair | None = None
    """Size of a pixel in kpc; None if the axes are not lengths."""
    remarks: tuple[str, ...] = ()
    tangent: tuple[float, ...] | None = None
    """CRPIX (2), CRVAL (2) and CD (4) of a plain tangential projection in ICRS or FK5, which needs no library."""
    wcs: Any = None
    """Other celestial coordinates, as an `astropy.wcs.WCS`."""

    @property
    def celestial(self) -> bool:
        """Whether pixels have a place on the sky."""
        return self.tangent is not None or self.wcs is not None

    def position(self, row: float, column: float) -> tuple[float, float]:
        """Return right ascension and declination (ICRS) of a place in the image in degrees; NaN if it has none."""
        if self.tangent is not None:
            return _deprojected(self.tangent, row, column)
        try:
            sky = self.wcs.pixel_to_world(column, row).icrs
        except Exception:  # Distortions may not converge, and projections may be undefined.
            return math.nan, math.nan
        return float(sky.ra.deg), float(sky.dec.deg)

    def place(self, ra: float, dec: float) -> Pair:
        """Return row and column of a position (ICRS) in degrees; NaN if it has none."""
        if self.tangent is not None:
            return _projected(self.tangent, ra, dec)
        try:
            column, row = self.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
        except Exception:
            return math.nan, math.nan
        return float(row), float(column)


def read_world(header: Header) -> World | None:
    """Read world coordinates; None if a header has none, or the default of 1 a pixel of unnamed axes.

    Raises Refused if they are invalid.
    """
    return None if names_in(header).isdisjoint(_MATRIX) else _read(Same(header))


@lru_cache(maxsize=8)
def _read(key: Same) -> World | None:
    header = key.header
    plain = _tangent(header)
    if plain is not None:
        a, b, c, d = plain[4:]
        return World((math.sqrt(b * b + d * d) * _ARCSEC, math.sqrt(a * a + c * c) * _ARCSEC), tangent=plain)
    wcs, scales, remarks = general_coordinates(header)
    kinds, named = [str(kind) for kind in wcs.wcs.ctype], [str(unit) for unit in wcs.wcs.cunit]
    # CDELT of undescribed axes is in degrees by convention, but 1 is the default of a header without a scale.
    if any(
        not kind and not unit and math.isclose(scale, 1)
        for kind, unit, scale in zip(kinds, named, scales, strict=True)
    ):
        return None
    found = [unit or ("" if kind else "deg") for unit, kind in zip(named, kinds, strict=True)]
    celestial = wcs if wcs.has_celestial else None
    kpc = _in(units.kpc, scales, found)
    if kpc is not None and 1e3 * min(kpc) < _SMALLEST_PARSEC:
        kpc = None
    scale = _in(units.arcsec, scales, found)
    return World(scale, kpc, remarks, wcs=celestial) if scale or kpc else None


def general_coordinates(header: Header) -> tuple[WCS, list[float], tuple[str, ...]]:
    """Read the world coordinates of the first two axes with wcslib.

    Returns them, the size of a pixel along each axis in their unit, and what was done to the header for the record.
    Raises Refused if they are invalid.
    """
    header, remarks = _without_tables(header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of every header that it repairs.
            wcs = WCS(header, naxis=2)
            wcs.wcs.set()
            scales = [float(scale) for scale in proj_plane_pixel_scales(wcs)]
    except Exception as error:  # wcslib raises many types of errors.
        raise Refused(f"invalid world coordinates ({first_line(error)})") from None
    return wcs, scales, remarks


def _in(wanted: Any, scales: list[float], named: list[str]) -> Pair | None:
    factors = [_factor(name, wanted) for name in named]
    if factors[0] is None or factors[1] is None:
        return None
    return scales[1] * factors[1], scales[0] * factors[0]


@lru_cache(maxsize=64)
def _factor(name: str, wanted: Any) -> float | None:
    unit = units.Unit(name) if name else units.dimensionless_unscaled
    return float(unit.to(wanted)) if unit.is_equivalent(wanted) else None


def _without_tables(header: Header) -> tuple[Header, tuple[str, ...]]:
    """Leave out distortions whose tables are in other HDUs: stamps have lost these, and drizzling has applied them.

    Returns the header, and what was done to it for the record.
    """
    left_over = {name for name in header if _TABULATED.match(name)}
    if not left_over:
        return header, ()
    header = header.copy()
    for name in left_over:
        header.remove(name, remove_all=True)
    return header, ("distortions in look-up tables left out",)


def _tangent(header: Header) -> tuple[float, ...] | None:
    """Read a plain tangential projection: what nearly all stamps have, many times faster than in general."""
    known = names_in(header)
    found = {name: header[name] for name in _PLAIN if name in known}
    if found.get("CTYPE1") != "RA---TAN" or found.get("CTYPE2") != "DEC--TAN":
        return None
    if any(str(found.get(f"CUNIT{axis}", "deg")).strip() != "deg" for axis in (1, 2)):
        return None
    if str(found.get("RADESYS", found.get("RADECSYS", "ICRS"))).strip() not in ("ICRS", "FK5", ""):
        return None
    if found.get("EQUINOX", found.get("EPOCH", 2000.0)) != 2000.0 or found.get("LONPOLE", 180.0) != 180.0:
        return None
    if any(map(_OTHER.match, known)):
        return None
    if known.isdisjoint(_MATRIX[2:6]):
        pc = [found.get(f"PC{i}_{j}", float(i == j)) for i in (1, 2) for j in (1, 2)]
        steps = [found.get(name, 1.0) for name in _MATRIX[:2]]
        if not _all_numbers(pc + steps):
            return None
        matrix = [steps[0] * pc[0], steps[0] * pc[1], steps[1] * pc[2], steps[1] * pc[3]]
    elif known.isdisjoint(_MATRIX[6:]):
        matrix = [found.get(name, 0.0) for name in _MATRIX[2:6]]
    else:
        return None
    values = [found.get(name, 0.0) for name in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")] + matrix
    if not _all_numbers(values) or not abs(values[3]) <= 90:
        return None
    if values[4] * values[7] == values[5] * values[6]:
        return None  # A singular matrix: the general way reports it.
    return tuple(float(value) for value in values)


def _all_numbers(values: list[Any]) -> bool:
    return all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )


def _deprojected(tangent: tuple[float, ...], row: float, column: float) -> tuple[float, float]:
    """Invert the gnomonic projection (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3)."""
    x0, y0, ra, dec, a, b, c, d = tangent
    x, y = column + 1 - x0, row + 1 - y0
    east, north = math.radians(a * x + b * y), math.radians(c * x + d * y)
    sine, cosine = math.sin(math.radians(dec)), math.cos(math.radians(dec))
    across, depth = cosine - north * sine, sine + north * cosine
    longitude = ra + math.degrees(math.atan2(east, across))
    return longitude % 360, math.degrees(math.atan2(depth, math.hypot(east, across)))


def _projected(tangent: tuple[float, ...], ra: float, dec: float) -> Pair:
    x0, y0, ra0, dec0, a, b, c, d = tangent
    turn = math.radians(ra - ra0)
    sine, cosine = math.sin(math.radians(dec)), math.cos(math.radians(dec))
    sine0, cosine0 = math.sin(math.radians(dec0)), math.cos(math.radians(dec0))
    distance = sine * sine0 + cosine * cosine0 * math.cos(turn)
    if distance <= 0:  # On the other half of the sky.
        return math.nan, math.nan
    east = math.degrees(cosine * math.sin(turn) / distance)
    north = math.degrees((sine * cosine0 - cosine * sine0 * math.cos(turn)) / distance)
    determinant = a * d - b * c
    x, y = (d * east - b * north) / determinant, (a * north - c * east) / determinant
    return y + y0 - 1, x + x0 - 1
