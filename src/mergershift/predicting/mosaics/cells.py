"""Exact integrals of an image over the cells of a grid that lies in it at any angle.

By Green's theorem, the integral of f over a cell is that of F dy around it, where F is the integral of f along the row
of the image up to a column. A line of the grid, cut where it crosses the edges of the image's pixels, has parts on
which F is linear, so that its value in their middle is its mean. Neighbouring cells share their edges.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Doubles = NDArray[np.float64]
FLAT = 0.02
"""Rows that a line may rise between two cuts at columns. Cuts at all columns would change averages by less than a
hundredth of their noise."""

BLOCK = 2**15
"""Number of pixels that are summed at a time: so few that torch, which predicts meanwhile, starts no threads for it."""


def integrals(images: Sequence[NDArray[np.generic]], corners: Doubles, size: int) -> Doubles:
    """Integrate images over the cells of a grid, where they count as 0 outside.

    Args:
        images: K images of one shape, without NaN; the first pixel extends from 0 to 1.
        corners: Corners of the grid `(2, 2, 2)`: by its row and column, then row and column in the images. Its nodes
            are bilinear between them.
        size: Number of cells a side.

    Returns `(K, size, size)`, negative for a grid that is a mirror image.
    """
    sums = [_sums_along_rows(image, number) for number, image in enumerate(images)]
    grid = _nodes(corners, size)
    upward = _along_lines(sums, grid[:, 0], grid[:, -1], size)
    across = _along_lines(sums, grid[:, :, 0], grid[:, :, -1], size)
    found: Doubles = np.diff(upward, axis=1).transpose(0, 2, 1) - np.diff(across, axis=1)
    return found


def areas(corners: Doubles, size: int) -> Doubles:
    """Compute the areas `(size, size)` of the cells of a grid as `integrals` takes it, with its sign."""
    y, x = _nodes(corners, size)
    rising = (x[:-1, :-1] - x[1:, 1:]) * (y[:-1, 1:] - y[1:, :-1])
    falling = (x[:-1, 1:] - x[1:, :-1]) * (y[:-1, :-1] - y[1:, 1:])
    found: Doubles = (rising - falling) / 2
    return found


def _nodes(corners: Doubles, size: int) -> Doubles:
    """Compute the rows and columns in the image of the grid's nodes, `(2, size + 1, size + 1)`."""
    fractions = np.arange(size + 1) / size
    weights = np.stack([1 - fractions, fractions])
    found: Doubles = weights.T @ corners.transpose(2, 0, 1) @ weights
    return found


def _sums_along_rows(image: NDArray[np.generic], number: int) -> Doubles:
    """Compute the integrals of an image along its rows, from 0 to each edge of a pixel: `(height, width + 1)`."""
    import torch

    height, width = image.shape
    sums = _KEPT.array(f"sums{number}", (height, width + 1))
    step = max(1, BLOCK // (width + 1))
    for start in range(0, height, step):
        part = sums[start : start + step]
        part[:, 0] = 0
        part[:, 1:] = image[start : start + step]
        torch.from_numpy(part).cumsum_(1)  # Three times as fast as numpy's.
    return sums


def _along_lines(sums: Sequence[Doubles], start: Doubles, stop: Doubles, size: int) -> Doubles:
    """Integrate F dy along straight lines, each divided into `size` equal edges.

    Args:
        sums: F at the edges of pixels, for each of K images.
        start: Rows and columns `(2, L)` where the lines begin.
        stop: Where they end.
        size: Number of edges.

    Returns `(K, L, size)`.
    """
    height, width = sums[0].shape
    (y, x), (dy, dx) = start[..., None], (stop - start)[..., None]
    lines, nodes = len(y), np.arange(size + 1) / size
    rise = abs(dy).max() / max(abs(dx).max(), 1e-9)
    crossings = _Crossings(y, dy), _Crossings(x, dx, max(1, int(min(FLAT / max(rise, 1e-9), width))))
    counts = [part.count for part in crossings]
    parts = sum(counts) + size + 1
    cuts = _KEPT.array("cuts", (lines, parts + 1))
    crossings[0].write(cuts[:, : counts[0]])
    crossings[1].write(cuts[:, counts[0] : sum(counts)])
    cuts[:, sum(counts) : -1], cuts[:, -1] = nodes, 1
    cuts.sort(axis=1)
    first = np.arange(size + 1) + crossings[0].before(nodes) + crossings[1].before(nodes)
    length, middle, row = (_KEPT.array(name, (lines, parts)) for name in ("length", "middle", "row"))
    np.subtract(cuts[:, 1:], cuts[:, :-1], out=length)
    np.add(cuts[:, 1:], cuts[:, :-1], out=middle)
    middle /= 2
    np.multiply(middle, dy, out=row)
    row += y
    middle *= dx
    middle += x
    np.floor(row, out=row)
    length *= dy
    if row.min() < 0 or row.max() >= height:
        length *= (row >= 0) & (row < height)
        np.clip(row, 0, height - 1, out=row)
    np.clip(middle, 0, width - 1, out=middle)
    before = np.minimum(middle, width - 2)
    np.floor(before, out=before)
    middle -= before
    row *= width
    before += row
    places = _KEPT.array("places", (lines, parts, 2), np.int32)
    places[..., 0] = before
    np.add(places[..., 0], 1, out=places[..., 1])
    weights = _KEPT.array("weights", (lines, parts, 2))
    np.multiply(middle, length, out=weights[..., 1])
    np.subtract(length, weights[..., 1], out=weights[..., 0])
    # A row of the matrix for each node: the edge that begins there, or nothing where a line ends.
    first += parts * np.arange(lines)[:, None]
    pointers = np.append(2 * first, places.size).astype(np.int32)
    edges = csr_array((weights.ravel(), places.ravel(), pointers), shape=(lines * (size + 1), height * width))
    return np.stack([(edges @ values.ravel()).reshape(lines, size + 1)[:, :-1] for values in sums])


class _Crossings:
    """Where lines cross whole numbers of pixels.

    Args:
        start: Where they begin, `(L, 1)`.
        step: How far away they end, `(L, 1)`.
        every: Distance between the numbers.
    """

    def __init__(self, start: Doubles, step: Doubles, every: int = 1) -> None:
        self.start, self.step = start / every, step / every
        stop = self.start + self.step
        self.first = np.ceil(np.minimum(self.start, stop))
        self.count = max(0, int((np.floor(np.maximum(self.start, stop)) - self.first).max()) + 1)

    def write(self, fractions: Doubles) -> None:
        """Write the fractions of the steps, `(L, count)`; 0 or 1 for lines with fewer crossings."""
        inverse = 1 / np.where(self.step == 0, np.inf, self.step)
        np.multiply(np.arange(self.count), inverse, out=fractions)
        fractions += (self.first - self.start) * inverse
        np.clip(fractions, 0, 1, out=fractions)

    def before(self, nodes: Doubles) -> NDArray[np.int64]:
        """Count those before rising fractions `(n,)`, the first of which is 0: `(L, n)`."""
        passed = self.start + self.step * nodes - self.first
        counts = np.where(self.step > 0, np.ceil(passed), self.count - 1 - np.floor(passed))
        counts[self.step[:, 0] == 0] = self.count
        counts[:, 0] = 0
        return np.clip(counts, 0, self.count).astype(np.int64)


class _Kept(threading.local):
    """Large arrays of a thread that are used again, since memory that is new to a process costs more than the sums."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
        """Return an array whose contents are left over from its last use."""
        size = int(np.prod(shape))
        if name not in self._arrays or len(self._arrays[name]) < size:
            self._arrays[name] = np.empty(size, dtype)
        return self._arrays[name][:size].reshape(shape)


_KEPT = _Kept()
