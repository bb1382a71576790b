"""The network's grid: how many kiloparsecs a pixel shows, and area-weighted re-binning of the central part."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.cosmology import FlatLambdaCDM
from numpy.typing import NDArray

_ILLUSTRIS = FlatLambdaCDM(H0=70.4, Om0=0.2726)
"""The cosmology of Illustris-1 (Vogelsberger et al. 2014, arXiv:1405.2921), that the archive was made in."""


@dataclass(frozen=True, slots=True)
class Axis:
    """The central part of one axis of an image: pixels `start` to `stop`, of which `first` onward `width` count."""

    start: int
    stop: int
    first: float
    width: float


@lru_cache(maxsize=256)
def kpc_per_arcsec(redshift: float) -> float:
    """Physical kiloparsecs that an arcsecond spans; raises ValueError where the redshift is not above 0."""
    if not (redshift > 0 and math.isfinite(redshift)):
        raise ValueError(f"redshift {redshift:g}, expected one above 0")
    return float(1 / _ILLUSTRIS.arcsec_per_kpc_proper(redshift).value)


def central(length: int, width: float) -> Axis:
    """The central `width` pixels (a fraction, too) of `length`; all of them where it is wider."""
    width = min(width, float(length))
    left = (length - width) / 2
    # A pixel of which rounding alone leaves a sliver is none.
    start, stop = math.floor(left + 1e-9), math.ceil(left + width - 1e-9)
    return Axis(start, stop, left - start, width)


@lru_cache(maxsize=32)
def overlaps(axis: Axis, size: int) -> NDArray[np.float64]:
    """What share of each of `size` new pixels each pixel of the axis' part fills, `(size, stop - start)`.

    Rows sum to 1: a mean, since surface brightness is per area.
    """
    edges = axis.first + axis.width * np.linspace(0, 1, size + 1)
    pixels = np.arange(axis.stop - axis.start)
    lower = np.maximum(edges[:-1, None], pixels)
    upper = np.minimum(edges[1:, None], pixels + 1)
    shared: NDArray[np.float64] = np.clip(upper - lower, 0, None)
    return shared / shared.sum(axis=1, keepdims=True)


def rebin(images: NDArray[np.float64], rows: Axis, columns: Axis, size: int) -> NDArray[np.float64]:
    """Average the central part of images `(..., H, W)` onto `(..., size, size)`, weighted by area.

    Pixels outside that part have no influence, finite or not; of those inside, one that is not finite makes its
    whole image not finite.
    """
    part = images[..., rows.start : rows.stop, columns.start : columns.stop]
    with np.errstate(invalid="ignore", over="ignore"):
        made: NDArray[np.float64] = overlaps(rows, size) @ part @ overlaps(columns, size).T
    return made
