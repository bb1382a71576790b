"""Pixels without a value: areas that only a constant fills, how much of the field is affected, and their filling."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mergershift.images.measure import SIGMA_OF_MAD

MIDDLE = 0.2
"""Side of the middle of the field, relative to the field."""
REACH = 3
"""Pixels up to which gaps are filled from their neighbours."""
NEIGHBOURS = 3
"""Fewest neighbours with a value, of eight, from which a pixel is filled."""
LEAST_AREA = 0.005
"""Smallest share of the image in which a constant means that there is no value."""
NEGATIVE = 0.01
"""Least share of negative pixels of images with noise, in which no exact zero is measured."""
DEEPEST = 50.0
"""Pixels this many standard deviations below the median are codes for no value, such as -99, wherever they are."""
HIGHEST = 1e20
"""Values above this are such codes in any unit."""
_EIGHT = np.ones((3, 3))

Values = NDArray[np.float32]


def without_blanks(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace areas that are filled with one value by NaN in images `(N, H, W)`, which may be changed in place.

    Many programs write a constant, mostly 0, where there is no data. In images with noise no area of at least 3 x 3
    pixels is constant. In those without, such as simulations, areas of exactly 0 are dark sky and are kept.
    """
    if min(part.shape[1:]) < 3:
        return part
    same = (part[:, 1:, 1:] == part[:, :-1, :-1]) & (part[:, 1:, :-1] == part[:, :-1, 1:])
    same &= part[:, 1:, 1:] == part[:, 1:, :-1]
    counts = same.sum(axis=(1, 2))
    for number in np.flatnonzero(counts > LEAST_AREA * part[0].size):
        image = part[number]
        values, found = np.unique(image[1:, 1:][same[number]], return_counts=True)
        value = values[found.argmax()]
        equal = image == value
        others = image[~equal & np.isfinite(image)]
        if not len(others) or (value == 0 and np.mean(others < 0) <= NEGATIVE):
            continue
        area = ndimage.binary_opening(equal, _EIGHT)
        if area.sum() > LEAST_AREA * image.size:
            image[area] = np.nan
    return part


def without_codes(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace codes for no value, such as -99 or 1e30, by NaN in images `(N, H, W)`, which are changed in place.

    Light is never that negative. The noise is estimated from every fourth row and column.
    """
    some = part[:, ::4, ::4].reshape(len(part), -1)
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Of images without any value.
        median = np.nanmedian(some, axis=1, keepdims=True)
        deviation = SIGMA_OF_MAD * np.nanmedian(np.abs(some - median), axis=1, keepdims=True)
        lowest = np.where(deviation > 0, np.minimum(median - DEEPEST * deviation, 0), -HIGHEST)
        part[(part < lowest[..., None]) | (part > HIGHEST)] = np.nan
    return part


def middle_coverage(images: Values) -> Values:
    """Compute which share of the middle of images `(N, C, S, S)` has a value, `(N, C)`."""
    side = images.shape[-1]
    start = round(side * (1 - MIDDLE) / 2)
    middle = images[..., start : side - start, start : side - start]
    share: Values = np.isfinite(middle).mean(axis=(2, 3), dtype=np.float32)
    return share


def fill(images: Values, level: Values, noise: Values) -> None:
    """Fill pixels that are NaN in images `(N, C, S, S)`, in place.

    Those near pixels with a value become the mean of these, others sky.

    Args:
        images: The images; those that are NaN throughout stay so.
        level: Level of the sky, `(N, C)`.
        noise: Its standard deviation, `(N, C)`. The same pattern is drawn for every image, so that the result does
            not depend on the others.
    """
    missing = np.isnan(images)
    some = missing.any(axis=(2, 3)) & ~missing.all(axis=(2, 3))
    if not some.any():
        return
    pattern = np.random.default_rng(0).standard_normal(images.shape[2:]).astype(np.float32)
    for number, channel in np.argwhere(some):
        image = images[number, channel]
        sky = np.nan_to_num(level[number, channel]) + np.nan_to_num(noise[number, channel]) * pattern
        _interpolate(image)
        gaps = np.isnan(image)
        image[gaps] = sky[gaps]


def _interpolate(image: Values) -> None:
    for _ in range(REACH):
        gaps = np.isnan(image)
        if not gaps.any():
            return
        known = ndimage.convolve((~gaps).astype(np.float32), _EIGHT, mode="constant")
        total = ndimage.convolve(np.where(gaps, np.float32(0), image), _EIGHT, mode="constant")
        near = gaps & (known >= NEIGHBOURS - 0.5)
        image[near] = total[near] / known[near]
