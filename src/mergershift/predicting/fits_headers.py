"""Properties of images from FITS headers: their HDU, unit, pixel scale, redshift and filters."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from typing import Any

from astropy import units
from astropy.io.fits import CompImageHDU, Header, ImageHDU, PrimaryHDU
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from mergershift.core.errors import first_line
from mergershift.predicting.conversion import Description
from mergershift.predicting.units import Refused

SCIENCE = ("SCI", "SCIENCE", "IMAGES")
"""Names of the HDU with the images to use, if several HDUs contain images."""
SCALES = ("PIXSCALE", "PIXELSCL", "SECPIX")
"""Keywords for the pixel scale of headers without world coordinates; arcsec unless the comment names another angle."""
SIZES = ("PIXSIZE",)
"""Keywords for the pixel scale or the size of a detector's pixels: used only if their comment names an angle."""
REDSHIFTS = ("REDSHIFT", "Z")
_ARCSEC = re.compile(r"\barc-?sec", re.IGNORECASE)
_UNIT_IN_COMMENT = re.compile(r"\s*[\[(]?\s*([A-Za-z]+)")
_FILTER = re.compile(r"f\d{3,4}[a-z]+\d?")


def image_hdu(hdus: Sequence[Any]) -> int:
    """Find the number of the HDU with the images, `(C, H, W)` or `(N, C, H, W)`.

    Raises Refused if no HDU contains images, or if several do and the names in `SCIENCE` do not single one out.
    """
    images = {
        number: tuple(hdu.shape)
        for number, hdu in enumerate(hdus)
        if isinstance(hdu, PrimaryHDU | ImageHDU | CompImageHDU) and hdu.shape
    }
    cubes = [number for number, shape in images.items() if len(shape) in (3, 4)]
    if not cubes:
        found = ", ".join(map(str, images.values()))
        raise Refused(
            f"images of shape {found}, expected (C, H, W) or (N, C, H, W)"
            if found
            else "the file contains no images"
        )
    named = [number for number in cubes if hdus[number].name.upper() in SCIENCE]
    if len(named or cubes) > 1:
        raise Refused(
            f"images in HDUs {', '.join(map(str, cubes))}; give the one to use the EXTNAME {SCIENCE[0]}"
        )
    return (named or cubes)[0]


def describe(hdu: Any, primary: Header) -> Description:
    """Describe images by the headers of their HDU and file; raises Refused if a value is invalid."""
    headers = (hdu.header, primary)
    unit = _first(headers, ("BUNIT",))
    redshift = _first(headers, REDSHIFTS)
    shape = tuple(int(length) for length in hdu.shape[-3:])
    return Description(
        shape=(shape[0], shape[1], shape[2]),
        unit=str(unit).strip() or None if unit is not None else None,
        pixel_arcsec=_world_scale(hdu.header) or _stated_scale(headers),
        redshift=None if redshift is None else _number("redshift", redshift),
        filters=_filters(headers, shape[0]),
    )


def _first(headers: Sequence[Header], names: Sequence[str]) -> Any:
    for header in headers:
        for name in names:
            if header.get(name) is not None:
                return header[name]
    return None


def _number(what: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Refused(f"{what} '{value}', expected a number") from None


def _world_scale(header: Header) -> tuple[float, float] | None:
    """Compute the scale between rows and columns in arcsec if the first two world coordinates are angles, else None."""
    if not any(name in header for name in ("CDELT1", "CD1_1", "CD1_2", "PC1_1")):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of every header that it repairs.
            world = WCS(header, naxis=2)
            world.wcs.set()
    except Exception as error:  # wcslib raises many types of errors.
        raise Refused(f"invalid world coordinates ({first_line(error)})") from None
    scales = proj_plane_pixel_scales(world)
    kinds, named = [str(kind) for kind in world.wcs.ctype], [str(unit) for unit in world.wcs.cunit]
    # CDELT of undescribed axes is in degrees by convention, but 1 is the default of a header without a scale.
    if any(
        not kind and not unit and math.isclose(scale, 1)
        for kind, unit, scale in zip(kinds, named, scales, strict=True)
    ):
        return None
    angles = [
        units.Unit(unit or "deg") if unit or not kind else None
        for unit, kind in zip(named, kinds, strict=True)
    ]
    if any(angle is None or not angle.is_equivalent(units.deg) for angle in angles):
        return None
    x, y = (
        float((scale * angle).to_value(units.arcsec)) for scale, angle in zip(scales, angles, strict=True)
    )
    return y, x


def _stated_scale(headers: Sequence[Header]) -> tuple[float, float] | None:
    for header in headers:
        for name in (*SCALES, *SIZES):
            angle = _angle(header.comments[name]) if header.get(name) is not None else None
            if header.get(name) is None or (name in SIZES and angle is None):
                continue
            scale = _number("pixel scale", header[name]) * float((angle or units.arcsec).to(units.arcsec))
            return scale, scale
    return None


def _angle(comment: str) -> Any:
    """Read the angle in a comment, as in ``[mas/pixel] scale`` or ``pixel size in arcsec``; None if it names none."""
    if _ARCSEC.search(comment):
        return units.arcsec
    found = _UNIT_IN_COMMENT.match(comment)
    unit = units.Unit(found[1], parse_strict="silent") if found else None
    return unit if unit is not None and unit.is_equivalent(units.arcsec) else None


def _filters(headers: Sequence[Header], channels: int) -> tuple[str, ...] | None:
    """Read the filters of the channels from FILTER1, FILTER2, ... or from a list in FILTERS."""
    numbered = [_first(headers, (f"FILTER{number}",)) for number in range(1, channels + 1)]
    if all(name is not None for name in numbered):
        return tuple(_filter_name(str(name)) for name in numbered)
    listed = _first(headers, ("FILTERS",))
    return tuple(_filter_name(name) for name in str(listed).split(",")) if listed is not None else None


def _filter_name(text: str) -> str:
    """Extract the filter from a name that may contain the instrument too: f160w from WFC3_IR/F160W."""
    plain = text.strip().lower()
    found = _FILTER.findall(plain)
    return found[-1] if found else plain
