"""Area averages of a mosaic on the grid of a field, at any angle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.mosaics.cells import areas, integrals
from mergershift.predicting.regrid import LEAST_SHARE

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]
FINEST = 6.5
"""Largest side of a new pixel in pixels of the mosaic; finer mosaics are binned first."""
STRIP = 2**23
"""Number of pixels of a finer mosaic that are read at a time."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a field lies in the pixels of a tile, whose first pixel extends from -0.5 to 0.5.

    Positions are bilinear in the fractions of the field: in any projection in use, the rest is below 1e-3 pixels at the
    size of a galaxy.
    """

    corners: Doubles
    """Corners `(2, 2, 2)`: by row and column of the field, then row and column in the tile."""
    size: int

    @property
    def steps(self) -> tuple[Doubles, Doubles]:
        """Displacement in rows and columns of the tile from a row and from a column of the field to the next."""
        (first, right), (up, last) = self.corners
        return (up - first + last - right) / (2 * self.size), (right - first + last - up) / (2 * self.size)

    @property
    def ratio(self) -> float:
        """Side of a pixel of the field in pixels of the tile: the larger one if the sides differ."""
        return max(float(np.hypot(*step)) for step in self.steps)

    def bounds(self, shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """Return the rows and columns of the tile that the field needs; None if it lies outside."""
        spans = []
        for axis, length in enumerate(shape):
            low, high = self.corners[..., axis].min(), self.corners[..., axis].max()
            start, stop = max(0, math.floor(low)), min(length, math.ceil(high) + 1)
            if start >= stop:
                return None
            spans.append(slice(start, stop))
        return spans[0], spans[1]

    def within(self, rows: slice, columns: slice, bins: int) -> Placement:
        """Place the field in a window of the tile whose pixels are binned, where the first pixel begins at 0."""
        origin = np.array([rows.start, columns.start], np.float64)
        return Placement((self.corners + 0.5 - origin) / bins, self.size)


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels of a tile."""

    values: Floats
    """Their values; 0 where there is none."""
    known: Flags
    """Where there is a value."""


@dataclass(frozen=True, slots=True)
class Averages:
    """Integrals over the pixels of a field, as far as a tile has values."""

    total: Doubles
    """Sum `(size, size)` of the values, weighted by the share of the new pixel that each covers."""
    share: Doubles
    """Share `(size, size)` of each new pixel where there are values."""

    @property
    def complete(self) -> bool:
        """Whether all pixels are covered."""
        return bool(self.share.min() > 1 - 1e-6)

    def filled(self, other: Averages) -> Averages:
        """Add the values of another tile to the pixels that are not covered."""
        open_ = self.share <= 1 - 1e-6
        return Averages(
            np.where(open_, self.total + other.total, self.total),
            np.where(open_, self.share + other.share, self.share),
        )

    def values(self) -> Floats:
        """Return the means; NaN for pixels of which less than `LEAST_SHARE` is covered."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            means = np.where(self.share >= LEAST_SHARE, self.total / self.share, np.nan)
            return means.astype(np.float32)


def resample(
    placement: Placement, shape: tuple[int, int], read: Callable[[slice, slice], Window]
) -> Averages | None:
    """Average a tile over the pixels of a field.

    Args:
        placement: Where the field lies.
        shape: Numbers of rows and columns of the tile.
        read: Reads a window of rows and columns.

    Returns None if the field lies outside the tile.
    """
    bounds = placement.bounds(shape)
    if bounds is None:
        return None
    bins = max(1, math.ceil(placement.ratio / FINEST))
    rows, columns = (
        slice(span.start, min(length, span.stop + -(span.stop - span.start) % bins))
        for span, length in zip(bounds, shape, strict=True)
    )
    window = read(rows, columns) if bins == 1 else binned((rows, columns), bins, read)
    return _integrated(window, placement.within(rows, columns, bins))


def binned(bounds: tuple[slice, slice], bins: int, read: Callable[[slice, slice], Window]) -> Window:
    """Average a window in squares of `bins` pixels a side, strip by strip; values missing in a square do not count."""
    rows, columns = bounds
    step = max(1, STRIP // (columns.stop - columns.start) // bins) * bins
    strips = [
        _squares(read(slice(start, min(start + step, rows.stop)), columns), bins)
        for start in range(rows.start, rows.stop, step)
    ]
    return Window(
        np.concatenate([strip.values for strip in strips]), np.concatenate([strip.known for strip in strips])
    )


def _squares(strip: Window, bins: int) -> Window:
    whole = all(length % bins == 0 for length in strip.known.shape)
    if whole and strip.known.all():
        values = _sums(strip.values, bins) / np.float32(bins * bins)
        return Window(values, np.ones(values.shape, bool))
    edges = [(0, -length % bins) for length in strip.known.shape]
    total = _sums(np.pad(strip.values, edges), bins)
    share = _sums(np.pad(strip.known.astype(np.float32), edges), bins)
    values = Averages(total / bins**2, share / bins**2).values()
    known = np.isfinite(values)
    return Window(np.where(known, values, np.float32(0)), known)


def _sums(strip: Floats, bins: int) -> Floats:
    # Sums of strided slices are ten times as fast as numpy's sums over two short axes.
    total = strip[::bins, ::bins].copy()
    for place in range(1, bins * bins):
        total += strip[place // bins :: bins, place % bins :: bins]
    return total


def _integrated(window: Window, field: Placement) -> Averages:
    """Integrate a window, whose first pixel begins at 0, over the pixels of a field."""
    inside = all(
        field.corners[..., axis].min() >= 0 and field.corners[..., axis].max() <= length
        for axis, length in enumerate(window.values.shape)
    )
    whole = inside and bool(window.known.all())
    images = [window.values] if whole else [window.values, window.known]
    found = integrals(images, field.corners, field.size) / areas(field.corners, field.size)
    return Averages(found[0], np.ones_like(found[0]) if whole else found[1])
