"""Pieces of the recipes of image_kinds.py: headers and files in the forms that archives and pipelines hand out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

Array = NDArray[Any]
Make = Callable[[Path, Array], list[str]]
FILTERS = ("f814w", "f160w")
SCALE = 0.1875
"""Pixel scale of the reference images in arcsec, at z = 2."""
ARCSEC2_IN_SR = (np.pi / 180 / 3600) ** 2
TO_MJY_SR = 1e-12 / ARCSEC2_IN_SR
TO_NJY = 1e3 * SCALE**2
"""Conversions of µJy/arcsec²: to MJy/sr, and to nJy per pixel."""


@dataclass(frozen=True)
class Kind:
    """A form in which images come, and what is right for it."""

    group: str
    name: str
    make: Make
    right: str
    """`same`, `withheld`, `refused`, or the words, separated by `|`, one of which the flags have to contain."""


KINDS: list[Kind] = []


def kind(group: str, name: str, right: str = "same") -> Callable[[Make], Make]:
    """Add the function that writes a kind of file, and returns the command's arguments, to the list."""

    def add(make: Make) -> Make:
        KINDS.append(Kind(group, name, make, right))
        return make

    return add


def world(size: int = 75, scale: float = SCALE, ra: float = 150.1, dec: float = 2.2) -> fits.Header:
    """Make the world coordinates of a stamp that is centred on a galaxy."""
    found = WCS(naxis=2)
    found.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    found.wcs.crval = [ra, dec]
    found.wcs.crpix = [(size + 1) / 2, (size + 1) / 2]
    found.wcs.cdelt = [-scale / 3600, scale / 3600]
    return found.to_header()


def header(plain: dict[str, Any] | None = None, size: int = 75, scale: float = SCALE) -> fits.Header:
    """Make a header with world coordinates, the redshift and other cards."""
    made = world(size, scale)
    made["REDSHIFT"] = 2.0
    for key, value in (plain or {}).items():
        if value is None:
            made.remove(key, ignore_missing=True)
        else:
            made[key] = value
    return made


def cubes(folder: Path, images: Array, cards: dict[str, Any] | None = None, factor: float = 1.0) -> list[str]:
    """Write one FITS cube a galaxy, in the unit that the cards name."""
    made = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"} | (cards or {})
    for number, image in enumerate(images):
        fits.PrimaryHDU((image * factor).astype("f4"), header(made)).writeto(folder / f"g{number}.fits")
    return [str(folder)]


def hdus(folder: Path, images: Array, make: Callable[[Array], list[Any]]) -> list[str]:
    """Write one file with several HDUs a galaxy."""
    for number, image in enumerate(images):
        fits.HDUList(make(image)).writeto(folder / f"g{number}.fits")
    return [str(folder)]


def finer(images: Array, factor: int) -> Array:
    """Split every pixel, which leaves the surface brightness unchanged."""
    return images.repeat(factor, -2).repeat(factor, -1)
