"""The halves of the validation galaxies: one to tune and to choose epochs, the other to judge what was chosen."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Half = Literal["choosing", "judging"]
HALVES: tuple[Half, Half] = ("choosing", "judging")
"""Names of the halves: searches and the choice of an epoch see the first alone, comparisons of methods, seeds and
registered models the second alone."""


def half_of(half: Half, galaxies: ArrayLike, labels: ArrayLike, seed: int) -> NDArray[np.generic]:
    """Return the galaxies that belong to a half of the validation galaxies.

    Both halves have the same share of each class, to one galaxy; the odd one judges. They are the same wherever the
    galaxies and the seed are. The only galaxy of a class belongs to both halves, which must not lack a class.

    Args:
        half: the half.
        galaxies: galaxy `(N,)` of each labelled validation image.
        labels: label `(N,)` of each of these images.
        seed: seed of the split into training, validation and test.

    Raises ValueError if the shapes differ.
    """
    names, classes = np.asarray(galaxies), np.asarray(labels)
    if names.ndim != 1 or names.shape != classes.shape:
        raise ValueError(f"galaxies {names.shape} and labels {classes.shape}, expected (N,) each")
    rng = np.random.default_rng([seed, 2])
    chosen = []
    for label in np.unique(classes):
        own = rng.permutation(np.unique(names[classes == label]))
        middle = len(own) // 2
        part = own[:middle] if half == "choosing" else own[middle:]
        chosen.append(part if len(own) > 1 else own)
    return np.concatenate(chosen) if chosen else names[:0]
