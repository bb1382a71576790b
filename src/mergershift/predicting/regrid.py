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


class Means:
    """Means of images over the pixels of a grid, weighted by area; the pixels are added part by part.

    Args:
        rows: The selected rows.
        columns: The selected columns.
        size: Side of the new grid.
        leading: Lengths of the axes before rows and columns.
    """

    def __init__(self, rows: Axis, columns: Axis, size: int, leading: tuple[int, ...] = ()) -> None:
        self._above, self._along = overlaps(rows, size), overlaps(columns, size).T
        self._total = self._share = np.zeros((*leading, size, size))
        self._whole, self._left = True, self._above.shape[1] * self._along.shape[0]

    def add(self, part: NDArray[np.float64], row: int = 0, column: int = 0) -> None:
        """Add pixels `(..., h, w)`; those that are not finite have no value.

        Args:
            part: The pixels.
            row: Place of their first row among the selected ones.
            column: Place of their first column among the selected ones.
        """
        height, width = part.shape[-2:]
        self._left -= height * width
        along = self._along[column : column + width]
        step = max(1, STRIP // max(1, math.prod((*part.shape[:-2], width))))
        for start in range(0, height, step):  # Copies of a large image would not fit into memory.
            strip = part[..., start : start + step, :]
            weights = self._above[:, row + start : row + start + strip.shape[-2]]
            finite = np.isfinite(strip)
            if finite.all():
                self._total = self._total + weights @ strip @ along
                self._share = self._share + np.outer(weights.sum(axis=1), along.sum(axis=0))
            else:
                self._whole = False
                self._total = self._total + weights @ np.where(finite, strip, 0.0) @ along
                self._share = self._share + weights @ finite.astype(np.float64) @ along

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the means over the pixels with a value, and the share of the area of each new pixel that these cover.

        Both are `(..., size, size)`; the mean is NaN where the share is less than `LEAST_SHARE`. Pixels that were not
        added have no value.
        """
        if self._whole and not self._left:
            return self._total, np.ones_like(self._total)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = self._total / self._share
        return np.where(self._share < LEAST_SHARE - 1e-9, np.nan, means), self._share


def rebin(
    part: NDArray[np.float64], rows: Axis, columns: Axis, size: int, first: tuple[int, int] = (0, 0)
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average parts of images `(..., h, w)` onto a grid `(..., size, size)`, as `Means` does.

    Args:
        part: The pixels that `rows` and `columns` select, or some of them.
        rows: The selected rows.
        columns: The selected columns.
        size: Side of the new grid.
        first: Place of the first of the pixels among the selected ones.
    """
    means = Means(rows, columns, size, part.shape[:-2])
    means.add(part, *first)
    return means.result()
