"""Stored pixels of arrays and npy files, of which only the wanted window is copied."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.layouts import Layout
from mergershift.predicting.planes import Rows
from mergershift.predicting.strips import STRIP

BLOCK_BYTES = 2**25
"""Size of the blocks of float64 images that are read at a time; a block has at least one image."""


def images_per_block(planes: int, rows: slice, columns: slice) -> int:
    """Compute how many images' windows are read at a time."""
    return max(1, BLOCK_BYTES // (8 * planes * (rows.stop - rows.start) * (columns.stop - columns.start)))


@contextmanager
def copied(pieces: Iterable[tuple[int, int, NDArray[np.generic]]], width: int) -> Iterator[Rows]:
    """Copy a window, whose rows cannot be read one after the other more than once, to a temporary file.

    Args:
        pieces: First row, first column and pixels `(h, w)` of every piece of the window.
        width: Number of columns of the window.
    """
    with tempfile.TemporaryFile(prefix="mergershift-") as file:
        for row, column, piece in pieces:
            dtype = piece.dtype
            for number, part in enumerate([piece] if piece.shape[1] == width else piece):
                file.seek(((row + number) * width + column) * dtype.itemsize)
                file.write(np.ascontiguousarray(part).data)
        file.flush()

        def read(start: int, stop: int) -> NDArray[np.generic]:
            file.seek(start * width * dtype.itemsize)
            rows: NDArray[np.generic] = np.fromfile(file, dtype, (stop - start) * width).reshape(-1, width)
            return rows

        yield read


@dataclass(frozen=True, slots=True)
class ArrayPixels:
    """Pixels of an array or tensor `(N, C, H, W)`."""

    images: Any

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of images, planes, rows and columns."""
        count, planes, rows, columns = self.images.shape
        return int(count), int(planes), int(rows), int(columns)

    def blocks(self, planes: Sequence[int], rows: slice, columns: slice) -> Iterator[NDArray[np.generic]]:
        """Yield a window of some planes, `(n, len(planes), h, w)`, of some images at a time."""
        step = images_per_block(len(planes), rows, columns)
        for start in range(0, len(self.images), step):
            yield _as_array(self.images[start : start + step, list(planes), rows, columns])

    def opened(self, image: int, plane: int, rows: slice, columns: slice) -> AbstractContextManager[Rows]:
        """Open a window of one plane of one image."""
        window = self.images[image, plane, rows, columns]
        return nullcontext(lambda start, stop: _as_array(window[start:stop]))


@dataclass(frozen=True, slots=True)
class NpyPixels:
    """Pixels of an npy file, whose layout is that of images `(N, C, H, W)`."""

    layout: Layout

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of images, planes, rows and columns."""
        count, planes, rows, columns = self.layout.shape
        return count, planes, rows, columns

    def blocks(self, planes: Sequence[int], rows: slice, columns: slice) -> Iterator[NDArray[np.generic]]:
        """Yield a window of some planes, `(n, len(planes), h, w)`, of some images at a time."""
        layout, step = self.layout, images_per_block(len(planes), rows, columns)
        for start in range(0, layout.shape[0], step):
            yield self._mapped()[start : start + step, list(planes), rows, columns]

    def opened(self, image: int, plane: int, rows: slice, columns: slice) -> AbstractContextManager[Rows]:
        """Open a window of one plane of one image."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        if self.layout.order == "C":
            return nullcontext(
                lambda start, stop: self._part(
                    image, plane, slice(rows.start + start, rows.start + stop), columns
                )
            )
        step = max(1, STRIP // height)
        starts = range(0, width, step)
        places = (
            slice(columns.start + first, min(columns.start + first + step, columns.stop)) for first in starts
        )
        pieces = (self._part(image, plane, rows, place) for place in places)
        return copied(zip(repeat(0), starts, pieces), width)

    def _part(self, image: int, plane: int, rows: slice, columns: slice) -> NDArray[np.generic]:
        return np.array(self._mapped()[image, plane, rows, columns])

    def _mapped(self) -> NDArray[np.generic]:
        """Map the file; the pages of a map that stays open would count as memory of this process."""
        layout = self.layout
        return np.asarray(
            np.memmap(layout.path, layout.dtype, "r", layout.offset, layout.shape, layout.order)
        )


def _as_array(images: Any) -> NDArray[np.generic]:
    return np.asarray(images.detach().cpu() if hasattr(images, "detach") else images)
