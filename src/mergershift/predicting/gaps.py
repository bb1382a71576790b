"""Pixels without a value: how much of the middle of the field has one, and the filling of gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MIDDLE = 0.2
"""Side of the middle of the field, relative to the field."""
REACH = 3
"""Pixels up to which gaps are filled from their neighbours."""
NEIGHBOURS = 3
"""Fewest neighbours with a value, of eight, from which a pixel is filled."""
_EIGHT = np.ones((3, 3))

Values = NDArray[np.float32]


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
