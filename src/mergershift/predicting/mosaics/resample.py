"""Area averages of a mosaic on the grid of a field, at any angle.

A new pixel is a parallelogram in the mosaic. It is cut into lines along the mosaic's rows; the integral over a line is
a difference of two cumulative sums and thereby exact, so that means over four lines a row have the
right noise to a percent. Means over as many points would add several percent of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.regrid import LEAST_SHARE

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
FINEST = 6.5
"""Largest side of a new pixel in pixels of the mosaic; finer mosaics are binned first."""
LINES, FEWEST = 4.0, 8
"""Lines in a new pixel by row of the mosaic that it covers, and the smallest number of them. Fewer would take some rows
more often than others, which adds noise."""
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

    def centres(self) -> tuple[Doubles, Doubles]:
        """Compute the rows and columns in the tile of the centres of all pixels of the field, both `(size, size)`."""
        fractions = (np.arange(self.size) + 0.5) / self.size
        weights = np.stack([1 - fractions, fractions])
        rows, columns = np.einsum("ijk,ip,jq->kpq", self.corners, weights, weights)
        return rows, columns


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
    placement: Placement, shape: tuple[int, int], read: Callable[[slice, slice], Floats]
) -> Averages | None:
    """Average a tile over the pixels of a field.

    Args:
        placement: Where the field lies.
        shape: Numbers of rows and columns of the tile.
        read: Reads a window of rows and columns, NaN where there is no value.

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


def binned(bounds: tuple[slice, slice], bins: int, read: Callable[[slice, slice], Floats]) -> Floats:
    """Average a window in squares of `bins` pixels a side, strip by strip; values missing in a square do not count."""
    rows, columns = bounds
    step = max(1, STRIP // (columns.stop - columns.start) // bins) * bins
    return np.concatenate(
        [
            _squares(read(slice(start, min(start + step, rows.stop)), columns), bins)
            for start in range(rows.start, rows.stop, step)
        ]
    )


def _squares(strip: Floats, bins: int) -> Floats:
    missing = np.isnan(strip)
    whole = all(length % bins == 0 for length in strip.shape)
    if whole and not missing.any():
        return _sums(strip, bins) / np.float32(bins * bins)
    edges = [(0, -length % bins) for length in strip.shape]
    total = _sums(np.pad(np.where(missing, np.float32(0), strip), edges), bins)
    share = _sums(np.pad((~missing).astype(np.float32), edges), bins)
    return Averages(total / bins**2, share / bins**2).values()


def _sums(strip: Floats, bins: int) -> Floats:
    # Sums of strided slices are ten times as fast as numpy's sums over two short axes.
    total = strip[::bins, ::bins].copy()
    for place in range(1, bins * bins):
        total += strip[place // bins :: bins, place % bins :: bins]
    return total


def _integrated(window: Floats, field: Placement) -> Averages:
    """Integrate a window, whose first pixel begins at 0, over the pixels of a field."""
    missing = np.isnan(window)
    inside = all(
        field.corners[..., axis].min() >= 0 and field.corners[..., axis].max() < length
        for axis, length in enumerate(window.shape)
    )
    if inside and not missing.any():
        return Averages(_means([window], field, inside)[0], np.ones((field.size, field.size)))
    total, share = _means(
        [np.where(missing, np.float32(0), window), (~missing).astype(np.float32)], field, inside
    )
    return Averages(total, share)


def _means(windows: Sequence[Floats], field: Placement, inside: bool) -> list[Doubles]:
    """Average windows of one shape over the pixels `(size, size)`, where values outside the window count as 0."""
    height, width = windows[0].shape
    sums = [_cumulative(window) for window in windows]
    means = [np.zeros((field.size, field.size)) for _ in windows]
    y, x = field.centres()
    lines = _lines(*field.steps)
    # Arrays of one line stay in the processor's cache.
    for down, lower, upper in lines:
        rows = np.floor(y + down).astype(np.int64)
        if not inside:
            rows[(rows < 0) | (rows >= height)] = height
        rows *= width + 2
        for end, add in ((upper, np.add), (lower, np.subtract)):
            columns = x + end
            if not inside:
                np.clip(columns, 0, width, out=columns)
            places = columns.astype(np.int64)
            columns -= places
            places += rows
            for mean, cumulative in zip(means, sums, strict=True):
                integral = cumulative[1:][places]
                left = cumulative[places]
                integral -= left
                integral *= columns
                integral += left
                add(mean, integral, out=mean)
    for mean in means:
        mean /= sum(upper - lower for _, lower, upper in lines)
    return means


def _cumulative(window: Floats) -> Doubles:
    """Sum along rows; a row of zeros takes lines above and below, and the last column is a neighbour that counts 0."""
    height, width = window.shape
    sums = np.empty((height + 1, width + 2))
    sums[:-1, 1:-1] = window
    sums[:, 0] = sums[:, -1] = sums[-1] = 0
    np.cumsum(sums[:-1], axis=1, out=sums[:-1])
    return sums.ravel()


def _lines(down: Doubles, along: Doubles) -> list[tuple[float, float, float]]:
    """Cut a pixel with such sides into lines: their rows, first and last columns, relative to the pixel's centre."""
    area = along[1] * down[0] - along[0] * down[1]
    reach = (abs(down[0]) + abs(along[0])) / 2
    count = max(math.ceil(LINES * 2 * reach), FEWEST)
    heights = ((np.arange(count) + 0.5) / count * 2 - 1) * reach
    lower, upper = np.full(count, -np.inf), np.full(count, np.inf)
    for rise, run in (down, along):  # The two pairs of parallel sides.
        if abs(rise) > 1e-9 * reach:
            middle, half = heights * run / rise, abs(area / rise) / 2
            lower, upper = np.maximum(lower, middle - half), np.minimum(upper, middle + half)
    met = upper > lower
    return list(zip(heights[met].tolist(), lower[met].tolist(), upper[met].tolist(), strict=True))
