"""Digests that recognise the same image in any orientation."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import IMAGE_SIZE

ORIENTATIONS = 8
"""Orientations of a square image: four rotations, each with its mirror image."""


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
