"""Batch normalisation, ReLU and max-pooling by 2 of `(B, H, W, K)` images in loops that each pass over the memory once.

A window is the four pixels of which pooling takes the maximum in every channel. The images' rows may be longer than the
W columns that count; what lies beyond is not read, and its gradient is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mergershift.networks.pooling_code import (
    gradient_sums_code,
    normalise_code,
    open_maxima_code,
    pool_code,
    unpool_code,
)

PRECISIONS = (torch.float32, torch.float64, torch.bfloat16)
"""Types of images that the loops know."""


class Pooled(NamedTuple):
    """The maxima of windows, and sums over all values, not over the maxima alone."""

    maxima: Tensor
    """`(B, H // 2, W // 2, K)`"""
    places: Tensor
    """Bytes of the same shape: 0 to 3, the first pixel of a window that has the maximum, row by row."""
    sums: Tensor
    """`(B, 2, K)` in double precision: sums and sums of squares of the values less `shift`."""


def empty_pooled(images: int, height: int, width: int, channels: int, dtype: torch.dtype) -> Pooled:
    """Return memory for what `pool` writes."""
    shape = (images, height // 2, width // 2, channels)
    return Pooled(
        torch.empty(shape, dtype=dtype),
        torch.empty(shape, dtype=torch.uint8),
        torch.zeros(images, 2, channels, dtype=torch.float64),
    )


def pool(full: Tensor, width: int, shift: Tensor, into: Pooled, start: int) -> None:
    """Pool images `(b, H, W or more, K)`, and write the results from image `start` on.

    Args:
        full: the images, contiguous, in one of `PRECISIONS`.
        width: the number of columns W that count.
        shift: values `(K)` near the mean, so that the sums of squares lose no digits.
        into: where the results are written.
        start: number of the first image in `into`.
    """
    images, height, padded, channels = full.shape
    parts = (part[start : start + images] for part in into)
    pool_code(channels, full.dtype)(images, [full, *parts, shift], [height, width, padded])


def normalise(maxima: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return max(0, `scale` * `maxima` + `offset`) of maxima `(B, H, W, K)`; scale and offset are `(K)`."""
    result = torch.empty_like(maxima)
    pixels = maxima.shape[1] * maxima.shape[2]
    normalise_code(maxima.shape[3], maxima.dtype)(len(maxima), [maxima, result, scale, offset], [pixels])
    return result


def open_maxima(full: Tensor, width: int, into: Tensor, start: int) -> None:
    """Pool images `(b, H, W or more, K)`, apply ReLU, and write the result from image `start` of `into` on.

    Args:
        full: the images, contiguous, in one of `PRECISIONS`.
        width: the number of columns W that count.
        into: where the result is written, `(B, H // 2, W // 2, K)`.
        start: number of the first image in `into`.
    """
    images, height, padded, channels = full.shape
    result = into[start : start + images]
    open_maxima_code(channels, full.dtype)(images, [full, result], [height, width, padded])


def gradient_sums(gradient: Tensor, maxima: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return sums of the gradient behind the ReLU, and of its products with the maxima, `(2, K)` in double precision.

    Args:
        gradient: the gradient of `normalise`'s result `(B, H, W, K)`.
        maxima: the maxima that it had normalised.
        scale: the scale `(K)` that it was given.
        offset: the offset `(K)`.
    """
    images, height, width, channels = maxima.shape
    sums = torch.zeros(images, 2, channels, dtype=torch.float64)
    tensors = [gradient, maxima, scale, offset, sums]
    gradient_sums_code(channels, maxima.dtype)(images, tensors, [height, width])
    return sums.sum(0)


def unpool(
    full: Tensor, width: int, gradient: Tensor, pooled: Pooled, start: int, coefficients: Tensor, into: Tensor
) -> None:
    """Compute the gradient of images `(b, H, W or more, K)`, of which `pool` has made the images from `start` on.

    It is constant + slope * value in every pixel, plus factor * gradient at the maxima behind which the ReLU is open.

    Args:
        full: the images.
        width: the number of columns W that count.
        gradient: the gradient of `normalise`'s result, of all images.
        pooled: what `pool` has written, of all images.
        start: number of the first image in `gradient` and `pooled`.
        coefficients: scale and offset of `normalise`, factor, slope and constant `(5, K)`.
        into: where the result is written, of the same shape as the images.
    """
    images, height, padded, channels = full.shape
    parts = (part[start : start + images] for part in (gradient, pooled.maxima, pooled.places))
    unpool_code(channels, full.dtype)(images, [full, *parts, coefficients, into], [height, width, padded])
