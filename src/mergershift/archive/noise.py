"""The noise of images, measured in their corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CORNER = 8
"""Width in pixels of the corners in which noise is measured, since nearly every image has only sky there."""


def corner_steps(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the differences `(C, count)` of horizontally neighbouring pixels in the corners of `(N, C, H, W)`."""
    ends = (slice(None, CORNER), slice(-CORNER, None))
    corners = [
        np.diff(images[..., vertical, horizontal], axis=-1) for vertical in ends for horizontal in ends
    ]
    return np.concatenate([corner.swapaxes(0, 1).reshape(images.shape[1], -1) for corner in corners], axis=1)


def noise_of(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the standard deviation of the noise `(C,)` from `corner_steps`, in the unit of the pixels."""
    # For a Gaussian the standard deviation is 1.4826 median absolute deviations; differences are sqrt(2) wider.
    return np.asarray(1.4826 / np.sqrt(2) * np.median(np.abs(steps), axis=1))
