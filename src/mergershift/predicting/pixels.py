"""Stored pixels of arrays and npy files, of which only the wanted window is copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.layouts import Layout

BLOCK_BYTES = 2**25
"""Size of the blocks of float64 images that are read at a time; a block has at least one image."""


def images_per_block(planes: int, rows: slice, columns: slice) -> int:
    """Compute how many images' windows are read at a time."""
    return max(1, BLOCK_BYTES // (8 * planes * (rows.stop - rows.start) * (columns.stop - columns.start)))


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
            block = self.images[start : start + step, list(planes), rows, columns]
            yield np.asarray(block.detach().cpu() if hasattr(block, "detach") else block)


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
            # The pages of a map that stays open would count as memory of this process.
            mapped = np.memmap(
                layout.path,
                layout.dtype,
                mode="r",
                offset=layout.offset,
                shape=layout.shape,
                order=layout.order,
            )
            yield np.asarray(mapped)[start : start + step, list(planes), rows, columns]
