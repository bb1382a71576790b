"""Properties of images from FITS headers: their unit, pixel scale, redshift, name and position."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from astropy.io.fits import Header

from mergershift.predicting.alignment import Frame, frame_of
from mergershift.predicting.cards import names_in, numbers
from mergershift.predicting.celestial import World, read_world
from mergershift.predicting.flags import Flag
from mergershift.predicting.image_files import stem
from mergershift.predicting.pixel_scales import pixel_scale
from mergershift.predicting.planes import Identity, Pair, Plane
from mergershift.predicting.positions import name_of, place_of, sky_positions
from mergershift.predicting.units import Refused, is_counts, is_usable, stated_unit
from mergershift.predicting.zero_points import zero_point

UNITS = ("BUNITS", "UNIT", "UNITS", "IMUNIT", "IMUNITS", "IMGUNIT", "FLUXUNIT", "DATAUNIT", "PIXUNIT")
"""Keywords for the unit beside BUNIT; used if they contain a unit of images."""
REDSHIFTS = (
    *("REDSHIFT", "ZSPEC", "Z_SPEC", "SPECZ", "SPEC_Z", "ZBEST", "Z_BEST", "BESTZ", "ZFINAL", "ZGRISM"),
    *("ZPHOT", "Z_PHOT", "PHOTZ", "PHOT_Z", "PHOTOZ", "ZPHOTO", "ZPDF", "Z_PEAK", "ZRED", "ZGAL", "Z_GAL"),
    *("GAL_Z", "ZOBS", "Z_OBS", "ZSOURCE", "ZSRC", "OBJ_Z", "Z_OBJ", "Z"),
)
"""Keywords for the redshift, in the order of their trust."""
PSFS = ("PSF_FWHM", "PSFFWHM", "FWHM_PSF", "PSFFWHMA", "SEEING", "FWHM")
"""Keywords for the width of the point-spread function in arcsec, or in pixels by the comment; FWHM needs a unit."""
_REDSHIFT = re.compile(r"red-?shift|\bspec|\bphot", re.IGNORECASE)
_NO_REDSHIFT = re.compile(
    r"\bzero|\bmag|coordinate|position|\bpix|kpc|\berr|uncertain|airmass|zenith", re.IGNORECASE
)


def describe_plane(
    header: Header, primary: Header, shape: tuple[int, int], plane: int | None = None
) -> Plane:
    """Describe a plane by the headers of its HDU and of its file, but for its filter.

    The plane's `jansky` is set only where a zero point counts before the unit.

    Args:
        header: Header of the HDU.
        primary: Header of the file's first HDU, which may be the same.
        shape: Numbers of rows and columns.
        plane: Number of the plane, starting at 1, if the HDU contains planes of several filters.

    Raises Refused if the world coordinates are invalid.
    """
    headers = (header,) if primary is header else (header, primary)
    unit = _unit(headers)
    world = _world(headers)
    scale = pixel_scale(world, headers, shape)
    zero = zero_point(headers, unit, plane)
    place = place_of(world, headers, shape)
    return Plane(
        shape=shape,
        unit=unit,
        jansky=zero.jansky if zero else None,
        pixel_arcsec=scale.arcsec,
        pixel_kpc=scale.kpc,
        centre=place.centre if place else None,
        psf_arcsec=_psf(headers, scale.arcsec),
        flags=(Flag("scales contradict"),) if scale.contradicted else (),
        remarks=(*scale.remarks, *([place.words] if place else []), *([zero.words] if zero else [])),
    )


def frame_in(headers: Sequence[Header], plane: Plane) -> Frame | None:
    """Find where the image of a plane lies on the sky; None if its headers do not say."""
    return frame_of(_world(headers), plane)


def redshift_of(headers: Sequence[Header]) -> float | None:
    """Read the redshift; None if no card has a positive number, since others stand for an unknown redshift."""
    for header in headers:
        beside_others = not names_in(header).isdisjoint(("X", "Y"))
        for card in numbers((header,), REDSHIFTS):
            # Beside X and Y, Z is a coordinate; a comment may say that a number is a zero point or an uncertainty.
            if card.name == "Z" and beside_others and not _REDSHIFT.search(card.remark):
                continue
            if card.value > 0 and not _NO_REDSHIFT.search(card.remark):
                return card.value
    return None


def identity_of(headers: Sequence[Header], file: str) -> Identity:
    """Read the name and the position of the object.

    It is named after its file if the headers do not name it. Its position is that in the headers, unless it is outside
    of the image, else that of the image's centre.
    """
    name = name_of(headers) or stem(file)
    try:
        world = _world(headers)
    except Refused:
        world = None
    shape = next(
        (
            (int(header["NAXIS2"]), int(header["NAXIS1"]))
            for header in headers
            if header.get("NAXIS1") and header.get("NAXIS2")
        ),
        None,
    )
    if world is not None and world.celestial and shape is not None:
        place = place_of(world, headers, shape)
        middle = ((shape[0] - 1) / 2, (shape[1] - 1) / 2)
        return Identity(file, name, *world.position(*(place.centre if place else middle)))
    found = sky_positions(headers)
    return Identity(file, name, found[0][1], found[0][2]) if found else Identity(file, name)


def _unit(headers: Sequence[Header]) -> str | None:
    """Read BUNIT or, where it says nothing, another keyword with a unit of images."""
    for name in ("BUNIT", *UNITS):
        for header in headers:
            unit = stated_unit(header[name]) if name in names_in(header) else None
            if unit is not None and (name == "BUNIT" or is_usable(unit) or is_counts(unit)):
                return unit
    return None


def _world(headers: Sequence[Header]) -> World | None:
    """Read the world coordinates of the HDU, else those of the file, if they are those of an image."""
    found = None
    for header in headers:
        world = read_world(header)
        if world is not None and world.celestial:
            return world
        found = found or world
    return found


def _psf(headers: Sequence[Header], pixel_arcsec: Pair | None) -> float | None:
    """Read the full width at half maximum of the point-spread function in arcsec, if its unit is known."""
    for card in numbers(headers, PSFS):
        if card.value <= 0:
            continue
        if re.search(r"\bpix", card.remark, re.IGNORECASE):
            return None if pixel_arcsec is None else card.value * math.sqrt(pixel_arcsec[0] * pixel_arcsec[1])
        if card.name != "FWHM" or re.search(r"arc-? ?sec", card.remark, re.IGNORECASE):
            return card.value
    return None
