"""A single pass over a file of images: means, bad pixels and a digest of every image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import Rows
from mergershift.archive.facts import IMAGE_SIZE
from mergershift.archive.noise import corner_steps, noise_of
from mergershift.archive.readers import Images
from mergershift.archive.renderings import ORIENTATIONS, digest


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

    def standard_errors(self, rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the standard errors of `mean` and `std`, each `(C,)`.

        Galaxies are the independent units, since the images of one galaxy are correlated.
        """
        counts = np.bincount(rows.galaxy)[:, None].astype(float)
        size = counts.sum()

        def error(values: NDArray[np.float64]) -> NDArray[np.float64]:
            sums = np.stack([np.bincount(rows.galaxy, column) for column in values.T], axis=1)
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
        steps.append(corner_steps(pixels[:: min(stride, len(pixels))]))
        if advance:
            advance(len(pixels))
    noise = noise_of(np.concatenate(steps, axis=1))
    return Scan(bad, means, squares, noise, digests)
