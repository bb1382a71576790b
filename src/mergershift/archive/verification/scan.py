"""A single pass over a file of images: means, bad pixels and a digest of every image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import IMAGE_SIZE, RowStructure
from mergershift.archive.readers import Images

ORIENTATIONS = 8
"""Orientations of a square image: four rotations, each with its mirror image."""
CORNER = 8
"""Width in pixels of the corners in which noise is measured, since nearly every image has only sky there."""


@dataclass(frozen=True)
class Scan:
    """The result of one pass over images `(N, C, 75, 75)`."""

    bad_pixels: NDArray[np.int64]
    """Number of NaN or infinite pixels in each image, `(N,)`."""
    means: NDArray[np.float64]
    """Mean of each image in µJy/arcsec², `(N, C)`; NaN or infinite pixels count as 0."""
    mean_squares: NDArray[np.float64]
    """Mean of the squared pixels of each image, `(N, C)`."""
    noise: NDArray[np.float64]
    """Standard deviation of the noise in the corners in µJy/arcsec², `(C,)`, from differences of pixels."""
    digests: NDArray[np.uint64]
    """Digest of each image in each orientation, `(N, 8)`; column 0 is that of the image as stored."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of all pixels in µJy/arcsec², `(C,)`."""
        return self.means.mean(axis=0)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of all pixels in µJy/arcsec², `(C,)`."""
        return np.sqrt(np.maximum(self.mean_squares.mean(axis=0) - self.mean**2, 0))

    @property
    def shapeless(self) -> NDArray[np.uint64]:
        """Digest of each image that is the same in all orientations, `(N,)`."""
        return self.digests.min(axis=1)

    def standard_errors(self, structure: RowStructure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the standard errors of `mean` and `std`, each `(C,)`.

        Galaxies are the independent units, since the images of one galaxy are correlated.
        """
        counts = np.bincount(structure.galaxy)[:, None].astype(float)
        size = counts.sum()

        def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.stack([np.bincount(structure.galaxy, column) for column in values.T], axis=1)
            residuals = sums - counts * values.mean(axis=0)
            return np.sqrt((residuals**2).sum(axis=0)) / size

        return error(self.means), error(self.mean_squares) / (2 * np.maximum(self.std, 1e-12))


def scan(images: Images, advance: Callable[[int], None] | None = None, rows: int = 256) -> Scan:
    """Scan a file of images in blocks of `rows`, calling `advance` with the number of images of each block.

    At most a few blocks are in memory, with 35 MB each for three filters and 256 rows.
    """
    count, channels = images.shape[:2]
    bad = np.zeros(count, np.int64)
    means, squares = np.zeros((count, channels)), np.zeros((count, channels))
    digests = np.zeros((count, ORIENTATIONS), np.uint64)
    steps: list[NDArray[np.float64]] = []
    # A sample of a few thousand images gives the noise to a fraction of a percent.
    stride = max(1, count // 2000)
    for block, pixels in images.blocks(rows):
        digests[block] = digest(pixels)
        finite = np.isfinite(pixels)
        bad[block] = np.count_nonzero(~finite, axis=(1, 2, 3))
        if bad[block].any():
            pixels[~finite] = 0.0
        means[block] = pixels.mean(axis=(2, 3))
        squares[block] = np.einsum("ncij,ncij->nc", pixels, pixels) / IMAGE_SIZE**2
        steps.append(_corner_steps(pixels[:: min(stride, len(pixels))]))
        if advance:
            advance(len(pixels))
    # For a Gaussian the standard deviation is 1.4826 median absolute deviations; differences are sqrt(2) wider.
    noise = 1.4826 / np.sqrt(2) * np.median(np.abs(np.concatenate(steps, axis=1)), axis=1)
    return Scan(bad, means, squares, noise, digests)


def digest(images: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Compute the digests `(B, 8)` of images `(B, C, 75, 75)` in all orientations; any changed bit changes all eight.

    A digest is the sum over all pixels of their mixed 64 bits times an odd random weight, modulo 2^64. Turning the
    weights is equivalent to turning the image, so an image has the same set of eight digests in every orientation.
    """
    bits = np.ascontiguousarray(images).view(np.uint64).reshape(len(images), -1)
    # Without mixing, values with few significant digits would leave the lower half of the digest empty.
    mixed = bits ^ (bits >> np.uint64(32))
    return np.einsum("np,op->no", mixed, _weights(images.shape[1]))


def turned_digests(digests: NDArray[np.uint64], block: int) -> NDArray[np.uint64]:
    """Select the digests `(B,)` of images oriented as in block `block` of the mergers from their digests `(B, 8)`."""
    return digests[:, _PLACE_OF_BLOCK[block]]


def _turns(images: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    rotated = [np.rot90(images, quarter, axes=(-2, -1)) for quarter in range(4)]
    return [*rotated, *(turned[..., ::-1] for turned in rotated)]


# Turning an image gives the same sum as turning the weights the other way.
# Indices in `_turns`: 6 is flipud, 4 is fliplr, 3 undoes rot90, 2 is rot180.
_PLACE_OF_BLOCK = (0, 6, 4, 3, 2)


@cache
def _weights(channels: int) -> NDArray[np.uint64]:
    random = np.random.default_rng(20170912)
    shape = (channels, IMAGE_SIZE, IMAGE_SIZE)
    one = random.integers(0, 2**64, shape, dtype=np.uint64) | np.uint64(1)
    return np.stack([np.ascontiguousarray(turned).reshape(-1) for turned in _turns(one)])


def _corner_steps(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the differences `(C, count)` of horizontally neighbouring pixels in the four corners."""
    ends = (slice(None, CORNER), slice(-CORNER, None))
    corners = [
        np.diff(images[..., vertical, horizontal], axis=-1) for vertical in ends for horizontal in ends
    ]
    return np.concatenate([corner.swapaxes(0, 1).reshape(images.shape[1], -1) for corner in corners], axis=1)
