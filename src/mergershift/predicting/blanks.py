"""Pixels that their values show to be without data: areas that only a constant fills, and codes such as -99."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mergershift.images.measure import SIGMA_OF_MAD
from mergershift.predicting.strips import Strip, Strips, strip_of

LEAST_AREA = 0.005
"""Smallest share of the image in which a constant means that there is no value."""
NEGATIVE = 0.01
"""Least share of negative pixels of images with noise, in which no exact zero is measured."""
DEEPEST = 50.0
"""Pixels this many standard deviations below the median are codes for no value, such as -99, wherever they are."""
HIGHEST = 1e20
"""Values above this are such codes in any unit."""
EVERY = 4
"""Distance of the rows and columns from which the noise is estimated."""
SAMPLE = 2**22
"""Largest number of pixels from which it is; they lie farther apart in images with more of them."""
MOST_VALUES = 2**18
"""Number of different values that are counted; a constant that fills an area is among the most frequent ones."""
_EIGHT = np.ones((3, 3))

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def without_blanks(part: Floats) -> Floats:
    """Replace areas that are filled with one value by NaN in images `(N, H, W)`, which may be changed in place.

    Many programs write a constant, mostly 0, where there is no data. In images with noise no area of at least 3 x 3
    pixels is constant. In those without, such as simulations, areas of exactly 0 are dark sky and are kept.
    """
    if min(part.shape[1:]) < 3:
        return part
    counts = _same(part).sum(axis=(1, 2))
    for number in np.flatnonzero(counts > LEAST_AREA * part[0].size):
        strip = strip_of(part[number])
        part[number][_filled(strip, blank_value([strip], part[0].size))] = np.nan
    return part


def without_codes(part: Floats) -> Floats:
    """Replace codes for no value, such as -99 or 1e30, by NaN in images `(N, H, W)`, which are changed in place.

    Light is never that negative. The noise is estimated from every fourth row and column.
    """
    step = _sample_step(part[0].size)
    lowest = _lowest(part[:, ::step, ::step].reshape(len(part), -1))
    part[_is_code(part, lowest[:, None, None])] = np.nan
    return part


class Blanks:
    """What `without_blanks` and `without_codes` replace in an image of which only strips fit into memory.

    Args:
        strips: The image.
    """

    def __init__(self, strips: Strips) -> None:
        rows, columns = strips.shape
        self._value = blank_value(strips, rows * columns) if min(rows, columns) >= 3 else None
        step = _sample_step(rows * columns)
        sample = [
            self._without_blanks(strip)[-strip.start % step :: step, ::step].ravel() for strip in strips
        ]
        self._lowest = _lowest(np.concatenate(sample)[None])[0]

    def without(self, strip: Strip) -> Floats:
        """Copy a strip, without the rows beside it, with NaN where there is no value."""
        part = self._without_blanks(strip)
        part[_is_code(part, self._lowest)] = np.nan
        return part

    def _without_blanks(self, strip: Strip) -> Floats:
        part = strip.values[strip.own].copy()
        part[_filled(strip, self._value)] = np.nan
        return part


def blank_value(strips: Iterable[Strip], size: int) -> float | None:
    """Find the value that fills areas without data of an image, whose strips are iterated over twice.

    Args:
        strips: The image.
        size: Its number of pixels.

    Returns None if there are no such areas.
    """
    found, counts = np.empty(0), np.empty(0, np.int64)
    blocks = 0
    for strip in strips:
        # A block of four pixels belongs to the strip with its lower row.
        first = max(strip.own.start, 1)
        part = strip.values[first - 1 : strip.own.stop]
        same = _same(part)
        blocks += int(same.sum())
        found, counts = _most_frequent(found, counts, part[1:, 1:][same])
    if blocks <= LEAST_AREA * size:
        return None
    value = float(found[counts.argmax()])
    others = negative = area = 0
    for strip in strips:
        own = strip.values[strip.own]
        rest = own[(own != value) & np.isfinite(own)]
        others += len(rest)
        negative += int(np.count_nonzero(rest < 0))
        area += int(np.count_nonzero(_filled(strip, value)))
    dark = value == 0 and negative <= NEGATIVE * others
    return None if not others or dark or area <= LEAST_AREA * size else value


def _same(part: Floats) -> Mask:
    """Find blocks of 2 x 2 equal pixels in images `(..., H, W)`, `(..., H - 1, W - 1)`."""
    upper, lower = part[..., :-1, :], part[..., 1:, :]
    same: Mask = (lower[..., 1:] == upper[..., :-1]) & (lower[..., :-1] == upper[..., 1:])
    same &= lower[..., 1:] == lower[..., :-1]
    return same


def _most_frequent(
    found: Floats, counts: NDArray[np.int64], values: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """Add values to those that were found, in ascending order, of which only the most frequent are kept."""
    if not len(values):
        return found, counts
    new, numbers = np.unique(values, return_counts=True)
    found, places = np.unique(np.concatenate([found, new]), return_inverse=True)
    counts = np.bincount(places, np.concatenate([counts, numbers]), len(found)).astype(np.int64)
    if len(found) > MOST_VALUES:
        kept = np.sort(np.argpartition(counts, -MOST_VALUES)[-MOST_VALUES:])
        found, counts = found[kept], counts[kept]
    return found, counts


def _filled(strip: Strip, value: float | None) -> Mask:
    """Find the areas of at least 3 x 3 pixels of a strip that the value fills, `(h, W)`; none without one."""
    if value is None:
        return np.zeros(strip.values[strip.own].shape, bool)
    filled: Mask = ndimage.binary_opening(strip.values == value, _EIGHT)[strip.own]
    return filled


def _sample_step(size: int) -> int:
    return max(EVERY, math.ceil(math.sqrt(size / SAMPLE)))


def _lowest(sample: Floats) -> Floats:
    """Compute the value below which there are only codes from some pixels of images, `(N, P)`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Of images without any value.
        median = np.nanmedian(sample, axis=1)
        deviation = SIGMA_OF_MAD * np.nanmedian(np.abs(sample - median[:, None]), axis=1)
    lowest: Floats = np.where(deviation > 0, np.minimum(median - DEEPEST * deviation, 0), -HIGHEST)
    return lowest


def _is_code(part: Floats, lowest: Floats) -> Mask:
    with np.errstate(invalid="ignore"):
        code: Mask = (part < lowest) | (part > HIGHEST)
    return code
