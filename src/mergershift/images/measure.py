"""Measures of images on a model's grid, by which new images are compared with those that a model was trained on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MEASURES = {
    "sky_level": "median of the pixels at the border",
    "sky_noise": "standard deviation of the pixels at the border, from the median absolute deviation",
    "peak_sn": "signal-to-noise ratio of the brightest 3 x 3 pixels in the central fifth of the field",
    "size": "radius in kpc around the brightest central pixel that contains half of the light within 6 pixels",
}
"""Names of the measures and their meaning; levels and noise have the unit of the images."""
BORDER = 1 / 15
"""Width of the border, relative to the field."""
BINNED = 3
"""Side of the squares of pixels in which sources are detected."""
APERTURE = 6
"""Radius in pixels within which the size is measured."""
_STEP = 0.5
SIGMA_OF_MAD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""

Values = NDArray[np.float32]


def measure(images: NDArray[np.floating], pixel_kpc: float) -> dict[str, Values]:
    """Measure images `(N, C, S, S)` with pixels of that size in each filter; those that are NaN have no value.

    Returns the `MEASURES`, each `(N, C)`. They are NaN for images without a value in a region that they need; the
    signal-to-noise ratio is NaN for images without noise too.
    """
    images = np.asarray(images, np.float32)
    side = images.shape[-1]
    level, noise = _spread(images[..., _ring(side, max(1, round(side * BORDER)))])
    squares = _squares(images)
    across = squares.shape[-1]
    _, coarse_noise = _spread(squares[..., _ring(across, max(1, round(across * BORDER)))])
    middle = slice(across * 2 // 5, across - across * 2 // 5)
    peak = _largest(squares[..., middle, middle]) - level
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(coarse_noise > 0, peak / coarse_noise, np.nan)
    return {
        "sky_level": level,
        "sky_noise": noise,
        "peak_sn": ratio.astype(np.float32),
        "size": _half_light(images, level) * np.float32(pixel_kpc),
    }


def star_size(fwhm: NDArray[np.floating]) -> NDArray[np.floating]:
    """Compute the `size` in pixels of point sources, for point-spread functions of these full widths in pixels."""
    return 0.52 * np.hypot(fwhm, 1.0)


@lru_cache
def _ring(side: int, width: int) -> NDArray[np.bool_]:
    ring = np.ones((side, side), bool)
    ring[width:-width, width:-width] = False
    return ring


def _spread(values: Values) -> tuple[Values, Values]:
    """Compute the median and the robust standard deviation along the last axis."""
    median = _median(values)
    return median, np.float32(SIGMA_OF_MAD) * _median(np.abs(values - median[..., None]))


def _median(values: Values) -> Values:
    gaps = np.isnan(values)
    made = np.full(values.shape[:-1], np.nan, np.float32)
    whole = ~gaps.any(axis=-1)
    made[whole] = np.median(values[whole], axis=-1)
    some = ~whole & ~gaps.all(axis=-1)
    if some.any():
        made[some] = np.nanmedian(values[some], axis=-1)
    return made


def _squares(images: Values) -> Values:
    across = images.shape[-1] // BINNED
    part = images[..., : across * BINNED, : across * BINNED]
    return part.reshape(*images.shape[:-2], across, BINNED, across, BINNED).mean(axis=(-3, -1))


def _largest(values: Values) -> Values:
    """Compute the largest value in the last two axes; NaN if there is none."""
    largest: Values = np.where(np.isnan(values), -np.inf, values).max(axis=(-2, -1))
    return np.where(np.isneginf(largest), np.float32(np.nan), largest)


@lru_cache
def _apertures() -> Values:
    """Compute the share of each pixel around the centre inside apertures of growing radius, `(radii, pixels)`."""
    radii = np.arange(_STEP, APERTURE + _STEP / 2, _STEP)
    side, parts = 2 * APERTURE + 1, 10
    offset = (np.arange(side * parts) + 0.5) / parts - side / 2
    distance = np.hypot(offset[:, None], offset).reshape(side, parts, side, parts)
    shares = np.stack([(distance < radius).mean(axis=(1, 3)).ravel() for radius in radii])
    return shares.astype(np.float32)


def _half_light(images: Values, level: Values) -> Values:
    count, filters, side, _ = images.shape
    start, stop = side // 3, side - side // 3
    reach = np.arange(-APERTURE, APERTURE + 1)
    if start < APERTURE:
        return np.full((count, filters), np.nan, np.float32)
    central = np.nan_to_num(images[..., start:stop, start:stop], nan=-np.inf).reshape(count, filters, -1)
    y, x = np.unravel_index(central.argmax(axis=-1), (stop - start, stop - start))
    rows, columns = y[..., None, None] + start + reach[:, None], x[..., None, None] + start + reach
    image, band = np.arange(count)[:, None, None, None], np.arange(filters)[:, None, None]
    boxes = images[image, band, rows, columns] - level[..., None, None]
    shares = _apertures()
    growth = boxes.reshape(count, filters, -1) @ shares.T
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(growth[..., -1:] > 0, growth / growth[..., -1:], np.nan)
    growth = np.concatenate([np.zeros_like(growth[..., :1]), growth], axis=-1)
    above = np.argmax(growth >= 0.5, axis=-1)[..., None]
    upper = np.take_along_axis(growth, above, -1)[..., 0]
    lower = np.take_along_axis(growth, np.maximum(above - 1, 0), -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        half = (above[..., 0] - 1 + (0.5 - lower) / (upper - lower)) * _STEP
    return np.where(np.isfinite(upper) & (above[..., 0] > 0), half, np.nan).astype(np.float32)
