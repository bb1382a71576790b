"""Many windows of one large image in a FITS file, which stays open."""

from __future__ import annotations

import tempfile
import threading
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mergershift.predicting.fits_access import Hdu, is_remote
from mergershift.predicting.fits_layout import scaled, stored_type

Block = NDArray[np.generic]
STRIP = 2**23
"""Number of pixels that are decompressed at a time."""
GAP = 2**15
"""Bytes between two rows of a window that are fetched along, rather than in a request for each row."""
ARCHIVES = (".gz", ".bz2", ".zip", ".z")


class Windows:
    """Windows of the two-dimensional image of an HDU.

    An uncompressed file is read directly: from a remote one, only the bytes of the windows are fetched. A file that is
    compressed as a whole is copied to a temporary one at once, uncompressed. An HDU that is compressed tile by tile is
    copied when the rows that have been read amount to the whole image, since most such tiles are rows.

    Args:
        name: Path or address of the file.
        hdu: The HDU by its header; axes before the last two have a length of 1.
    """

    def __init__(self, name: str, hdu: Hdu) -> None:
        self.name, self.hdu = name, hdu
        self.shape = (hdu.shape[-2], hdu.shape[-1])
        self._file: Any = None
        self._copy: Any = None
        self._direct: _Stored | None = None
        self._read = 0
        self._lock = threading.Lock()

    def read(self, rows: slice, columns: slice) -> Block:
        """Read a window in native byte order; raises any exception for a damaged file."""
        with self._lock:
            direct = self._direct or self._opened(rows)
            if direct is None:
                return self._section(rows, columns)
        return direct.read(rows, columns)

    def close(self) -> None:
        """Close the file and delete the temporary one."""
        with self._lock:
            for file in (self._file, self._copy):
                if file is not None:
                    file.close()
            self._file = self._copy = self._direct = None

    def _opened(self, rows: slice) -> _Stored | None:
        """Open the file if need be; returns what can be read directly."""
        remote, packed = is_remote(self.name), self.name.lower().endswith(ARCHIVES)
        if self._file is None:
            self._file = fits.open(self.name, memmap=False, use_fsspec=True if remote else None)
            hdu = self._file[self.hdu.number]
            if not packed and not isinstance(hdu, fits.CompImageHDU):
                kind = _Ranges if remote else _Rows
                place, header = hdu.fileinfo()["datLoc"], self.hdu.header
                self._direct = kind(self.name, place, self.shape, stored_type(header), header)
        self._read += rows.stop - rows.start
        if self._direct is None and (packed or self._read > self.shape[0]):
            self._direct = self._copied()
        return self._direct

    def _section(self, rows: slice, columns: slice) -> Block:
        leading = (0,) * (len(self.hdu.shape) - 2)
        block = np.asarray(self._file[self.hdu.number].section[(*leading, rows, columns)])
        return block.astype(block.dtype.newbyteorder("="), copy=False)

    def _copied(self) -> _Stored:
        height, width = self.shape
        step = max(1, STRIP // width)
        self._copy = tempfile.TemporaryFile(prefix="mergershift-")  # noqa: SIM115
        for start in range(0, height, step):
            block = self._section(slice(start, min(start + step, height)), slice(0, width))
            self._copy.write(np.ascontiguousarray(block).data)
        self._copy.flush()
        return _Rows(self._copy, 0, self.shape, block.dtype, fits.Header())


class _Stored:
    """An uncompressed image in a file.

    Args:
        file: The file, its path or its address.
        place: Byte at which the image begins.
        shape: Numbers of rows and columns.
        dtype: Type of the stored values.
        header: Header with the scale of integers, and with their value for pixels without one.
    """

    def __init__(
        self, file: Any, place: int, shape: tuple[int, int], dtype: np.dtype[Any], header: fits.Header
    ) -> None:
        self.file, self.place, self.shape, self.dtype, self.header = file, place, shape, dtype, header

    def read(self, rows: slice, columns: slice) -> Block:
        """Read a window in native byte order, with integers scaled."""
        return scaled(self.stored(rows, columns), self.header)

    def stored(self, rows: slice, columns: slice) -> Block:
        """Return the stored values of a window, of which nothing need be read before they are copied."""
        raise NotImplementedError


class _Rows(_Stored):
    """An image in a local file."""

    def stored(self, rows: slice, columns: slice) -> Block:
        # The pages of a map that stays open would count as memory of this process.
        mapped = np.memmap(self.file, self.dtype, "r", self.place, self.shape)
        window: Block = mapped[rows, columns]
        return window


class _Ranges(_Stored):
    """An image in a remote file, of which the ranges of bytes are fetched that a window needs."""

    def stored(self, rows: slice, columns: slice) -> Block:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(self.file)
        row, size = self.shape[1] * self.dtype.itemsize, self.dtype.itemsize
        if row - (columns.stop - columns.start) * size <= GAP:
            whole = self._fetched(system, path, [(rows.start * row, rows.stop * row)])
            window = whole.reshape(-1, self.shape[1])[:, columns]
        else:
            first, last = columns.start * size, columns.stop * size
            spans = [(number * row + first, number * row + last) for number in range(rows.start, rows.stop)]
            window = self._fetched(system, path, spans).reshape(len(spans), -1)
        return window

    def _fetched(self, system: Any, path: str, spans: list[tuple[int, int]]) -> NDArray[Any]:
        starts, stops = ([self.place + span[end] for span in spans] for end in (0, 1))
        parts = system.cat_ranges([path] * len(spans), starts, stops, on_error="raise")
        for part, (start, stop) in zip(parts, spans, strict=True):
            if len(part) != stop - start:
                raise OSError(f"the server sent {len(part)} bytes where {stop - start} were requested")
        return np.frombuffer(b"".join(parts), self.dtype)
