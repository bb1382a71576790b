"""Re-binning to the network's grid: the physical scale of pixels, and area-weighted means of the central part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import NDArray

_ILLUSTRIS = FlatLambdaCDM(H0=70.4, Om0=0.2726)
"""Cosmology of Illustris-1 (Vogelsberger et al. 2014, arXiv:1405.2921), in which the archive was made."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Central part of one axis of an image: `width` pixels that begin `first` after `start` and end before `stop`."""

    start: int
    stop: int
    first: float
    width: float


@lru_cache(maxsize=256)
def kpc_per_arcsec(redshift: float) -> float:
    """Compute the physical kiloparsecs per arcsecond; raises ValueError if the redshift is not positive."""
    if not (redshift > 0 and math.isfinite(redshift)):
        raise ValueError(f"redshift {redshift:g}, expected a positive number")
    return float(1 / _ILLUSTRIS.arcsec_per_kpc_proper(redshift).value)


def central(length: int, width: float) -> Axis:
    """Select the central `width` (not necessarily whole) of `length` pixels; all of them if `width` is larger."""
    width = min(width, float(length))
    left = (length - width) / 2
    # Slivers of pixels that arise only from rounding are ignored.
    start, stop = math.floor(left + 1e-9), math.ceil(left + width - 1e-9)
    return Axis(start, stop, left - start, width)


@lru_cache(maxsize=32)
def overlaps(axis: Axis, size: int) -> NDArray[np.float64]:
    """Compute the weight of each selected pixel in each of `size` new pixels, `(size, stop - start)`.

    Rows sum to 1, since the surface brightness of a new pixel is a mean.
    """
    edges = axis.first + axis.width * np.linspace(0, 1, size + 1)
    pixels = np.arange(axis.stop - axis.start)
    lower = np.maximum(edges[:-1, None], pixels)
    upper = np.minimum(edges[1:, None], pixels + 1)
    shared: NDArray[np.float64] = np.clip(upper - lower, 0, None)
    return shared / shared.sum(axis=1, keepdims=True)


def rebin(images: NDArray[np.float64], rows: Axis, columns: Axis, size: int) -> NDArray[np.float64]:
    """Average the central part of images `(..., H, W)` onto a grid `(..., size, size)`, weighted by area.

    Pixels outside that part have no influence. A NaN or infinite pixel inside makes its whole image NaN
    or infinite.
    """
    part = images[..., rows.start : rows.stop, columns.start : columns.stop]
    with np.errstate(invalid="ignore", over="ignore"):
        made: NDArray[np.float64] = overlaps(rows, size) @ part @ overlaps(columns, size).T
    return made
