"""One walk through a file of images: sums, bad pixels and a digest of every image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import IMAGE_SIZE, RowStructure
from mergershift.archive.readers import Images

ORIENTATIONS = 8
"""Ways to lay a square image down: four rotations, each also mirrored."""
CORNER = 8
"""Pixels a side of the corners in which the noise is measured: sky in nearly every image."""


@dataclass(frozen=True)
class Scan:
    """What one walk through `(N, C, 75, 75)` images finds."""

    bad_pixels: NDArray[np.int64]
    """`(N,)` pixels that are not finite."""
    means: NDArray[np.float64]
    """`(N, C)` mean of each image, µJy/arcsec²; pixels that are not finite count as 0."""
    mean_squares: NDArray[np.float64]
    """`(N, C)` mean of the squared pixels of each image."""
    noise: NDArray[np.float64]
    """`(C,)` deviation from pixel to pixel in the corners, µJy/arcsec², by the median absolute deviation."""
    digests: NDArray[np.uint64]
    """`(N, 8)` digest of each image in each orientation; column 0 is that of the image as it is."""

    @property
    def mean(self) -> NDArray[np.float64]:
        """`(C,)` mean of all pixels, µJy/arcsec²."""
        return self.means.mean(axis=0)

    @property
    def std(self) -> NDArray[np.float64]:
        """`(C,)` standard deviation of all pixels, µJy/arcsec²."""
        return np.sqrt(np.maximum(self.mean_squares.mean(axis=0) - self.mean**2, 0))

    @property
    def shapeless(self) -> NDArray[np.uint64]:
        """`(N,)` digest of each image whichever way it lies."""
        return self.digests.min(axis=1)

    def standard_errors(self, structure: RowStructure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`(C,)` standard errors of `mean` and `std`: galaxies are the sample, their images hang together."""
        counts = np.bincount(structure.galaxy)[:, None].astype(float)
        size = counts.sum()

        def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.stack([np.bincount(structure.galaxy, column) for column in values.T], axis=1)
            residuals = sums - counts * values.mean(axis=0)
            return np.sqrt((residuals**2).sum(axis=0)) / size

        return error(self.means), error(self.mean_squares) / (2 * np.maximum(self.std, 1e-12))


def scan(images: Images, advance: Callable[[int], None] | None = None, rows: int = 256) -> Scan:
    """Walk through a file of images in blocks; `advance` is told how many rows were read.

    Memory stays at a few blocks of `rows` images, 35 MB each for three filters.
    """
    count, channels = images.shape[:2]
    bad = np.zeros(count, np.int64)
    means, squares = np.zeros((count, channels)), np.zeros((count, channels))
    digests = np.zeros((count, ORIENTATIONS), np.uint64)
    steps: list[NDArray[np.float64]] = []
    # a sample of a few thousand images gives the noise to a fraction of a percent
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
    # 1.4826 turns a Gaussian's median absolute deviation into its deviation; a difference of two has sqrt(2)
    noise = 1.4826 / np.sqrt(2) * np.median(np.abs(np.concatenate(steps, axis=1)), axis=1)
    return Scan(bad, means, squares, noise, digests)


def digest(images: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Digest `(B, C, 75, 75)` images in all orientations, `(B, 8)`; any changed bit changes all eight.

    A sum over pixels of their 64 bits, mixed, times an odd random weight, modulo 2^64. Turning the weights is
    turning the image, so the set of eight belongs to the image whichever way it lies.
    """
    bits = np.ascontiguousarray(images).view(np.uint64).reshape(len(images), -1)
    # without mixing, values of few significant digits would leave the lower half of the digest empty
    mixed = bits ^ (bits >> np.uint64(32))
    return np.einsum("np,op->no", mixed, _weights(images.shape[1]))


def turned_digests(digests: NDArray[np.uint64], block: int) -> NDArray[np.uint64]:
    """Digests `(B,)` of images turned as block `block` of the mergers is, from their `(B, 8)` digests."""
    return digests[:, _PLACE_OF_BLOCK[block]]


def _turns(images: NDArray[np.uint64]) -> list[NDArray[np.uint64]]:
    rotated = [np.rot90(images, quarter, axes=(-2, -1)) for quarter in range(4)]
    return [*rotated, *(each[..., ::-1] for each in rotated)]


# To turn an image and to turn the weights the other way give the same sum.
# In `_turns`: 6 is flipud, 4 is fliplr, 3 undoes rot90, 2 is rot180.
_PLACE_OF_BLOCK = (0, 6, 4, 3, 2)


@cache
def _weights(channels: int) -> NDArray[np.uint64]:
    random = np.random.default_rng(20170912)
    shape = (channels, IMAGE_SIZE, IMAGE_SIZE)
    one = random.integers(0, 2**64, shape, dtype=np.uint64) | np.uint64(1)
    return np.stack([np.ascontiguousarray(each).reshape(-1) for each in _turns(one)])


def _corner_steps(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Differences of neighbouring pixels in the four corners, `(C, count)`."""
    ends = (slice(None, CORNER), slice(-CORNER, None))
    corners = [
        np.diff(images[..., vertical, horizontal], axis=-1) for vertical in ends for horizontal in ends
    ]
    return np.concatenate([each.swapaxes(0, 1).reshape(images.shape[1], -1) for each in corners], axis=1)
