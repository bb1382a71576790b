"""The astrometric offset between the mosaics of two filters, from the objects that both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import tukey

from mergershift.images.measure import SIGMA_OF_MAD
from mergershift.predicting.mosaics.layer import Layer

SOURCES, TRIED = 40, 100
"""Numbers of objects that are used, and of positions that are tried for them at most."""
GROUPS = 8
"""Number of groups of objects, whose scatter gives the error."""
SIGNIFICANT = 3.0
"""Errors by which an offset exceeds 0 before it is believed, and noise of an image above which its pixels count."""
LARGEST = 128
"""Largest side of the compared images in pixels."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Where a second mosaic shows objects relative to a first one."""

    east_arcsec: float
    north_arcsec: float
    error_arcsec: float
    """Standard error of either coordinate."""
    count: int
    """Number of objects that were compared."""

    @property
    def arcsec(self) -> float:
        """Length of the offset."""
        return float(np.hypot(self.east_arcsec, self.north_arcsec))

    def exceeds(self, arcsec: float) -> bool:
        """Whether the offset is significant and longer than a length, such as a pixel of the model."""
        return self.arcsec > max(arcsec, SIGNIFICANT * self.error_arcsec)

    def __str__(self) -> str:
        return (
            f"{self.arcsec:.2f} arcsec ({self.east_arcsec:+.2f} east, {self.north_arcsec:+.2f} north, "
            f"each +-{self.error_arcsec:.2f}, from {self.count} objects)"
        )


def measure_offset(
    first: Layer, second: Layer, positions: Sequence[tuple[float, float]], field_arcsec: float
) -> Offset | None:
    """Measure the offset by cross-correlation, summed over objects so that faint ones count together.

    Args:
        first: Mosaic of one filter.
        second: Mosaic of another.
        positions: Right ascensions and declinations of objects, ICRS, in degrees; some are taken from all of them.
        field_arcsec: Side of the compared images; offsets up to half of it are found.

    Returns None if too few objects are detected in both.
    """
    size = int(np.clip(field_arcsec / max(first.pixel_arcsec, second.pixel_arcsec), 16, LARGEST))
    found: list[NDArray[np.float64]] = []
    step = max(1, len(positions) // TRIED)
    for ra, dec in positions[::step]:
        if len(found) == SOURCES:
            break
        pair = [_contrast(layer, ra, dec, field_arcsec, size) for layer in (first, second)]
        if pair[0] is not None and pair[1] is not None:
            found.append(_correlation(pair[0], pair[1]))
    if len(found) < GROUPS:
        return None
    groups = [np.mean(found[start::GROUPS], axis=0) for start in range(GROUPS)]
    # Leaving out one group at a time (the jackknife).
    without = np.array([_peak(np.mean(groups[:out] + groups[out + 1 :], axis=0)) for out in range(GROUPS)])
    error = np.sqrt((GROUPS - 1) * without.var(axis=0).mean())
    down, along = _peak(np.mean(groups, axis=0))
    pixel = field_arcsec / size
    return Offset(-along * pixel, down * pixel, float(error) * pixel, len(found))


def _contrast(
    layer: Layer, ra: float, dec: float, field_arcsec: float, size: int
) -> NDArray[np.float64] | None:
    """Compress an image's range so that no single star outweighs the others; None without an object or with gaps."""
    stamp = layer.stamp(ra, dec, field_arcsec, size)
    if stamp.coverage < 1:
        return None
    values = stamp.values.astype(np.float64)
    values -= np.median(values)
    noise = float(SIGMA_OF_MAD * np.median(abs(values)))
    if not noise > 0:
        noise = float(values.std()) / 10
    if not noise > 0 or (values > 2 * SIGNIFICANT * noise).sum() < 4:
        return None
    contrast = np.arcsinh(np.clip(values / noise - SIGNIFICANT, 0, None))
    taper = tukey(size, 0.25)
    contrast *= taper[:, None] * taper
    return contrast / np.sqrt((contrast**2).sum())


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    spectrum = np.conj(np.fft.rfft2(first)) * np.fft.rfft2(second)
    return np.fft.fftshift(np.fft.irfft2(spectrum, first.shape))


def _peak(correlation: NDArray[np.float64]) -> tuple[float, float]:
    """Locate the maximum, relative to no displacement, by parabolas through its neighbours."""
    size = len(correlation)
    row, column = (
        min(max(int(place), 1), size - 2)
        for place in np.unravel_index(correlation.argmax(), correlation.shape)
    )
    return (
        row + _vertex(correlation[row - 1 : row + 2, column]) - size // 2,
        column + _vertex(correlation[row, column - 1 : column + 2]) - size // 2,
    )


def _vertex(three: NDArray[np.float64]) -> float:
    before, at, after = three
    curvature = before - 2 * at + after
    return float(np.clip((before - after) / (2 * curvature), -1, 1)) if curvature < 0 else 0.0
