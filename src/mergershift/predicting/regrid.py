"""Re-binning to the network's grid: the physical scale of pixels, and area-weighted means of the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import NDArray

_ILLUSTRIS = FlatLambdaCDM(H0=70.4, Om0=0.2726)
"""Cosmology of Illustris-1 (Vogelsberger et al. 2014, arXiv:1405.2921), in which the archive was made."""
LEAST_SHARE = 0.5
"""Smallest share of the area of a new pixel that must have a value for the new pixel to have one."""
STRIP = 2**23
"""Number of pixels that are averaged at a time."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Part of one axis of an image: `width` pixels that begin `first` after `start` and end before `stop`.

    It may extend beyond the image.
    """

    start: int
    stop: int
    first: float
    width: float

    def inside(self, length: int) -> slice:
        """Select the pixels that an axis of `length` pixels has; empty if it has none of them."""
        start = min(max(self.start, 0), length)
        return slice(start, max(start, min(self.stop, length)))

    def padding(self, length: int) -> tuple[int, int]:
        """Compute how many pixels are missing before and after an axis of `length` pixels."""
        inside = self.inside(length)
        return inside.start - self.start, self.stop - inside.stop


@lru_cache(maxsize=256)
def kpc_per_arcsec(redshift: float) -> float:
    """Compute the physical kiloparsecs per arcsecond; raises ValueError if the redshift is not positive."""
    if not (redshift > 0 and math.isfinite(redshift)):
        raise ValueError(f"redshift {redshift:g}, expected a positive number")
    return float(1 / _ILLUSTRIS.arcsec_per_kpc_proper(redshift).value)


def central(length: int, width: float) -> Axis:
    """Select the central `width` (not necessarily whole) of `length` pixels; all of them if `width` is larger."""
    return around((length - 1) / 2, min(width, float(length)))


def around(centre: float, width: float) -> Axis:
    """Select `width` pixels (not necessarily whole) around a position, where the first pixel's centre is 0."""
    left = centre + 0.5 - width / 2
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


def rebin(
    part: NDArray[np.float64], rows: Axis, columns: Axis, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average parts of images `(..., h, w)` onto a grid `(..., size, size)`, weighted by area.

    Args:
        part: The pixels that `rows` and `columns` select; those that are not finite have no value.
        rows: The selected rows.
        columns: The selected columns.
        size: Side of the new grid.

    Returns the means over the pixels with a value, and the share of the area of each new pixel that these cover, both
    `(..., size, size)`; the mean is NaN where the share is less than `LEAST_SHARE`.
    """
    above, along = overlaps(rows, size), overlaps(columns, size).T
    step = max(1, STRIP // math.prod((*part.shape[:-2], part.shape[-1])))
    total = share = np.zeros((*part.shape[:-2], size, size))
    whole = True
    for start in range(0, part.shape[-2], step):  # Copies of a large image would not fit into memory.
        strip, weights = part[..., start : start + step, :], above[:, start : start + step]
        finite = np.isfinite(strip)
        if finite.all():
            total = total + weights @ strip @ along
            share = share + np.outer(weights.sum(axis=1), along.sum(axis=0))
        else:
            whole = False
            total = total + weights @ np.where(finite, strip, 0.0) @ along
            share = share + weights @ finite.astype(np.float64) @ along
    if whole:
        return total, np.ones_like(total)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total / share
    return np.where(share < LEAST_SHARE - 1e-9, np.nan, means), share
