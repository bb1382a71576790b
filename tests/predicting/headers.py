"""Headers as archives, pipelines and libraries write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astropy.io.fits import Header

SHAPE = (150, 150)
PIXEL = 0.06
WORLD = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 150.1,
    "CRVAL2": 2.2,
    "CRPIX1": 75.5,
    "CRPIX2": 75.5,
    "CD1_1": -PIXEL / 3600,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": PIXEL / 3600,
}
"""World coordinates of a stamp whose centre is at RA 150.1 and Dec 2.2 degrees."""
PHOTFLAM = 1.93e-20, "inverse sensitivity, ergs/cm2/Ang/electron"
F160W = {"PHOTFLAM": PHOTFLAM, "PHOTPLAM": (15369.0, "Pivot wavelength (Angstroms)")}
"""Photometry of WFC3/IR's F160W as in drizzled images of MAST, 1.52e-7 Jy."""


def header(cards: Mapping[str, Any], shape: tuple[int, int] = SHAPE) -> Header:
    """Make a header; values may be pairs of a value and a comment."""
    made = Header({"NAXIS": 2, "NAXIS1": shape[1], "NAXIS2": shape[0]})
    for name, value in cards.items():
        made[name] = value
    return made
