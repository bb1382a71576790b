"""Rotations and random directions in three dimensions, written out by components.

Matrix products are avoided because the order of summation in BLAS libraries depends on the machine, and a mock
archive should be the same everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def random_rotation(rng: np.random.Generator) -> Floats:
    """Draw a rotation matrix `(3, 3)`, uniform over orientations (from a unit quaternion; Shoemake 1992)."""
    w, x, y, z = (q := rng.normal(size=4)) / np.sqrt((q * q).sum())
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotate(rotation: Floats, vectors: Floats) -> Floats:
    """Apply a rotation `(3, 3)` to vectors `(3, N)`."""
    x, y, z = vectors
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rotation])


def unrotate(rotation: Floats, vectors: Floats) -> Floats:
    """Apply the inverse of a rotation `(3, 3)` to vectors `(3, N)`."""
    return rotate(rotation.T, vectors)


def isotropic(rng: np.random.Generator, radii: Floats) -> Floats:
    """Place points `(3, N)` at given distances `(N,)` in random directions."""
    directions = rng.normal(size=(3, len(radii)))
    return directions * (radii / np.sqrt((directions * directions).sum(axis=0)))
