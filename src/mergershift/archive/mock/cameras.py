"""Cameras of the mock universe: four fixed directions, adaptive smoothing, PSF and the archive's pixels."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mergershift.archive.facts import FIELD_KPC, FILTER_SETS, IMAGE_SIZE, PIXEL_ARCSEC, RowStructure
from mergershift.archive.mock.light import FILTERS, Stars
from mergershift.archive.mock.vectors import Floats

FINER = 3
"""Number of fine pixels along one pixel of the archive."""
PIXEL_KPC = FIELD_KPC / IMAGE_SIZE
KPC_PER_ARCSEC = PIXEL_KPC / PIXEL_ARCSEC
SMOOTHINGS = (0.3, 0.8, 2.0, 5.0)
"""Standard deviations of the smoothing Gaussians in kpc; each star's light is shared between the nearest two."""
FINE_SMOOTHINGS = 2
"""Number of smoothings, from the first, that use the fine grid; the others use the archive's."""
PSF_KPC = tuple(
    facts.psf_fwhm_arcsec / np.sqrt(8 * np.log(2)) * KPC_PER_ARCSEC for facts in FILTER_SETS["three"].filters
)
_THIRD = 1 / np.sqrt(3.0)
DIRECTIONS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * _THIRD
"""Directions of the cameras, at the corners of a tetrahedron as in Snyder et al. 2019 (arXiv:1809.02136)."""


def _axes(direction: Floats) -> tuple[Floats, Floats]:
    """Compute the right and up axes `(3,)` of a camera that looks along `direction` `(3,)`."""
    right = np.cross([0.0, 0.0, 1.0], direction)
    right = right / np.sqrt((right * right).sum())
    return right, np.cross(direction, right)


AXES = tuple(_axes(direction) for direction in DIRECTIONS)


def _levels(smoothing: Floats) -> Floats:
    """Compute the share `(levels, N)` of each star's light at each smoothing, continuous in its smoothing length."""
    steps = np.log(SMOOTHINGS)
    place = np.interp(np.log(np.maximum(smoothing, 1e-3)), steps, np.arange(len(steps)))
    return np.maximum(0.0, 1.0 - np.abs(place - np.arange(len(steps))[:, None]))


def _deposit(x: Floats, y: Floats, light: Floats, size: int) -> Floats:
    """Deposit points of light `(filters, N)` on a grid `(filters, size, size)` of the whole field, cloud-in-cell."""
    scale = size / FIELD_KPC
    u, v = x * scale + 0.5 * size - 0.5, y * scale + 0.5 * size - 0.5
    inside = (u >= 0) & (u < size - 1) & (v >= 0) & (v < size - 1)
    u, v, light = u[inside], v[inside], light[:, inside]
    column, row = u.astype(np.int64), v.astype(np.int64)
    right, up = u - column, v - row
    corner = row * size + column
    index = np.concatenate([corner, corner + 1, corner + size, corner + size + 1])
    shares = np.concatenate([(1 - right) * (1 - up), right * (1 - up), (1 - right) * up, right * up])
    grids = [np.bincount(index, np.tile(band, 4) * shares, minlength=size * size) for band in light]
    image: Floats = np.stack(grids).astype(np.float64, copy=False).reshape(len(grids), size, size)
    return image


def _blur(images: Floats, deviation: float) -> Floats:
    """Convolve the last two axes with a Gaussian of `deviation` pixels; light beyond the edge is lost."""
    once = gaussian_filter1d(images, deviation, axis=-1, mode="constant", truncate=4.0)
    return gaussian_filter1d(once, deviation, axis=-2, mode="constant", truncate=4.0)


def _smooth(levels: list[Floats], smoothings: tuple[float, ...], pixel: float) -> Floats:
    """Sum the levels `(cameras, filters, size, size)`, each convolved with its smoothing length and its filter's PSF.

    A wide Gaussian is the convolution of the next narrower one with a Gaussian of the remaining variance. The levels
    are therefore summed from the widest on, and every sum is blurred only by the difference to the next.
    """
    image = levels[-1]
    for level in reversed(range(len(levels) - 1)):
        rest = np.sqrt(smoothings[level + 1] ** 2 - smoothings[level] ** 2)
        image = _blur(image, rest / pixel) + levels[level]
    widths = [np.sqrt(smoothings[0] ** 2 + psf**2) / pixel for psf in PSF_KPC]
    return np.stack([_blur(image[:, channel], width) for channel, width in enumerate(widths)], axis=1)


def render_stars(stars: Stars, offsets: Floats, size: int = IMAGE_SIZE) -> Floats:
    """Render stars as seen by the four cameras: surface brightness `(4, 3, size, size)` in light per arcsec².

    `offsets` `(4, 2)` are the pixels of the archive by which the origin is right of and above the centre of each image.
    """
    shares = _levels(stars.smoothing)
    fine_size = FINER * size
    grids: list[Floats] = []
    for level, share in enumerate(shares):
        side = fine_size if level < FINE_SMOOTHINGS else size
        chosen = share > 0
        places, light = stars.positions[:, chosen], stars.light[:, chosen] * share[chosen]
        views = np.empty((RowStructure.CAMERAS, FILTERS, side, side))
        for camera, (right, up) in enumerate(AXES):
            shift_x, shift_y = offsets[camera] * PIXEL_KPC
            x = shift_x + right[0] * places[0] + right[1] * places[1] + right[2] * places[2]
            y = shift_y + up[0] * places[0] + up[1] * places[1] + up[2] * places[2]
            views[camera] = _deposit(x, y, light, side)
        grids.append(views)
    fine = _smooth(grids[:FINE_SMOOTHINGS], SMOOTHINGS[:FINE_SMOOTHINGS], FIELD_KPC / fine_size)
    binned = fine.reshape(RowStructure.CAMERAS, FILTERS, size, FINER, size, FINER).sum(axis=(3, 5))
    coarse = _smooth(grids[FINE_SMOOTHINGS:], SMOOTHINGS[FINE_SMOOTHINGS:], FIELD_KPC / size)
    return (binned + coarse) / (PIXEL_ARCSEC * IMAGE_SIZE / size) ** 2
