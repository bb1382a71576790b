"""Images that do not fit into memory, read some rows at a time as often as needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.planes import Rows

STRIP = 2**21
"""Number of pixels of a strip; a strip has at least one row."""
REACH = 2
"""Rows beside a strip that are read along, so that areas of 3 x 3 pixels at its edges are whole."""


class Strip(NamedTuple):
    """Some rows of an image."""

    start: int
    """Number of the first row in the image."""
    values: NDArray[np.float64]
    """The rows and up to `REACH` rows on either side, `(h, W)`; not to be changed."""
    own: slice
    """The strip among these rows."""


def strip_of(image: NDArray[np.float64]) -> Strip:
    """Make one strip of a whole image `(H, W)`."""
    return Strip(0, image, slice(0, len(image)))


class Strips:
    """Strips of one image, from top to bottom, as often as they are iterated over; one strip alone is read once.

    Args:
        read: Reads rows of the image.
        shape: Numbers of rows and columns.
    """

    def __init__(self, read: Rows, shape: tuple[int, int]) -> None:
        self._read, self.shape = read, shape
        self._height = max(1, STRIP // max(1, shape[1]))
        self._only: Strip | None = None

    def __iter__(self) -> Iterator[Strip]:
        if self._only is not None:
            yield self._only
            return
        rows = self.shape[0]
        for start in range(0, rows, self._height):
            stop = min(start + self._height, rows)
            top, bottom = max(0, start - REACH), min(rows, stop + REACH)
            values = self._read(top, bottom).astype(np.float64, copy=False)
            strip = Strip(start, values, slice(start - top, stop - top))
            if rows <= self._height:
                self._only = strip
            yield strip
