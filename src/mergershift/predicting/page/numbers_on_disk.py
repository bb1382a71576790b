"""Numbers of millions of rows, which would take more and more memory, in a temporary file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

CHUNK = 2**16
"""Number of rows that are read at a time."""

Values = NDArray[np.float32]


class NumbersOnDisk:
    """Columns of float32, of which one is read at a time."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="mergershift-")  # noqa: SIM115
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._width = 0

    def add(self, columns: Mapping[str, NDArray[np.floating]]) -> None:
        """Append rows: values `(n,)` or `(n, C)` by name, with the same names and lengths C every time."""
        if not self._places:
            for name, values in columns.items():
                self._places[name] = self._width, values.shape[1:]
                self._width += math.prod(values.shape[1:])
        parts = [
            columns[name].reshape(len(columns[name]), math.prod(shape))
            for name, (_, shape) in self._places.items()
        ]
        self._file.seek(0, 2)
        self._file.write(np.concatenate(parts, axis=1).astype(np.float32).tobytes())

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def column(self, name: str) -> Values:
        """Read a column of all rows, `(n,)` or `(n, C)`."""
        start, shape = self._places[name]
        stop = start + math.prod(shape)
        parts = [np.empty((0, stop - start), np.float32)]
        self._file.seek(0)
        while data := self._file.read(4 * self._width * CHUNK):
            parts.append(np.frombuffer(data, np.float32).reshape(-1, self._width)[:, start:stop].copy())
        return np.concatenate(parts).reshape(-1, *shape)
