"""Where HDUs are in the bytes of a FITS file, several times faster than by opening it with astropy.

This serves files without anything uncommon, which nearly all stamps are; others are left to astropy.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

RECORD = 2880
MOST_UNPACKED = 2**26
"""Largest packed file that is unpacked in memory."""
KEPT = 2**28
"""Bytes of unpacked files that are kept, so that files are unpacked once for their headers and pixels."""
_FIRST_READ = 4 * RECORD
_PACKED: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)
"""First bytes of packed files, whatever they are called, and what opens them."""
KINDS = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


class Truncated(Exception):
    """Raised for a file that is shorter than its headers imply."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An HDU in a file."""

    header: Header
    shape: tuple[int, ...]
    """Lengths of the axes in numpy's order."""
    place: int
    """Byte at which its data begin."""

    def pixels(
        self, name: str | IO[bytes], content: bytes | None, shape: tuple[int, ...], before: int = 0
    ) -> NDArray[Any]:
        """Return its pixels under another shape, of which nothing is read before it is copied.

        Args:
            name: Path of the file, or the file.
            content: What the file contains, if it is packed.
            shape: The shape, with at most as many pixels as the HDU has.
            before: Number of pixels to leave out before.
        """
        dtype = stored_type(self.header)
        place = self.place + before * dtype.itemsize
        if content is None:
            return np.memmap(name, dtype, "r", place, shape)
        return np.frombuffer(content, dtype, math.prod(shape), place).reshape(shape)

    def values(self, stored: NDArray[Any]) -> NDArray[np.generic]:
        """Copy stored pixels to native byte order, with integers scaled as the header says."""
        return scaled(stored, self.header)


def stored_type(header: Header) -> np.dtype[Any]:
    """Return the type in which pixels are stored; raises KeyError for an invalid one."""
    return np.dtype(KINDS[header["BITPIX"]])


def scaled(stored: NDArray[Any], header: Header) -> NDArray[np.generic]:
    """Copy stored pixels to native byte order, with integers scaled, and NaN for those without a value."""
    scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
    blank = header.get("BLANK") if stored.dtype.kind in "iu" else None
    if blank is None and scale == 1 and zero == 0:
        return np.array(stored, stored.dtype.newbyteorder("="))
    values = np.array(stored, np.float64) * scale + zero
    if blank is not None:
        values[stored == blank] = np.nan
    return values


def stored_hdus(name: str | IO[bytes], content: bytes | None, *, whole: bool) -> list[Stored] | None:
    """List the HDUs of a local file; None if it has to be opened by astropy.

    Args:
        name: Path of the file, or the file.
        content: What the file contains, if it is packed.
        whole: Whether a file that is too short is refused, rather than read as far as it goes.

    Raises Truncated if the file is too short, and OSError.
    """
    if content is not None:
        return _listed(lambda start, length: content[start : start + length], len(content), whole)
    with open(name, "rb", buffering=0) if isinstance(name, str) else nullcontext(name) as file:
        size = os.fstat(file.fileno()).st_size
        return _listed(lambda start, length: os.pread(file.fileno(), length, start), size, whole)


def _listed(read: Callable[[int, int], bytes], size: int, whole: bool) -> list[Stored] | None:
    found: list[Stored] = []
    place = 0
    while place < size:
        text = _header_text(read, place)
        if text is None or not text.startswith(b"XTENSION" if found else b"SIMPLE  ="):
            return None
        header = Header.fromstring(text)
        try:
            axes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
            groups, extra = int(header.get("GCOUNT", 1)), int(header.get("PCOUNT", 0))
            width = stored_type(header).itemsize
        except (KeyError, TypeError, ValueError):
            return None
        if "ZIMAGE" in header or "GROUPS" in header or any(length < 0 for length in axes):
            return None
        start = place + len(text)
        length = width * groups * (extra + math.prod(axes)) if axes else 0
        if whole and start + length > size:
            raise Truncated
        found.append(Stored(header, tuple(reversed(axes)), start))
        place = start + math.ceil(length / RECORD) * RECORD
    return found or None


def _header_text(read: Callable[[int, int], bytes], place: int) -> bytes | None:
    text, wanted, done = b"", _FIRST_READ, 0
    while True:
        piece = read(place + len(text), wanted)
        text += piece
        for record in range(done, len(text) - RECORD + 1, RECORD):
            end = text[record : record + RECORD].rstrip(b" ")
            if end.endswith(b"END") and len(end) % 80 == 3:
                return text[: record + RECORD]
        done = len(text) // RECORD * RECORD
        if len(piece) < wanted:
            return None
        wanted = 8 * RECORD


_Key = tuple[str, int, int]
_kept: OrderedDict[_Key, bytes] = OrderedDict()
_copy: tuple[_Key, IO[bytes]] | None = None
_lock = threading.Lock()


def unpacked(name: str) -> bytes | None:
    """Return what a packed local file contains; None if it is not packed, or too large for memory.

    Raises any exception for a damaged file.
    """
    with _packed(name) as found:
        if found is None:
            return None
        key, source = found
        with _lock:
            if key in _kept:
                _kept.move_to_end(key)
                return _kept[key]
            if _copy is not None and _copy[0] == key:
                return None
        content = source.read(MOST_UNPACKED + 1)
    if len(content) > MOST_UNPACKED:
        return None
    with _lock:
        _kept[key] = content
        while sum(map(len, _kept.values())) > KEPT:
            _kept.popitem(last=False)
    return content


def unpacked_file(name: str) -> IO[bytes] | None:
    """Copy what a packed local file contains to a temporary file, which is kept until another one is copied.

    Returns None if it is not packed. Raises any exception for a damaged file.
    """
    global _copy
    with _packed(name) as found:
        if found is None:
            return None
        key, source = found
        with _lock:
            if _copy is None or _copy[0] != key:
                _copy = None
                made = tempfile.TemporaryFile(prefix="mergershift-")  # noqa: SIM115
                shutil.copyfileobj(source, made, 2**20)
                made.flush()
                _copy = key, made
            return _copy[1]


@contextmanager
def _packed(name: str) -> Iterator[tuple[_Key, IO[bytes]] | None]:
    """Open what a packed local file contains, with the key under which it is kept; yields None if it is not packed."""
    with open(name, "rb") as file:
        start = file.read(8)
        file.seek(0)
        opener = next((opener for magic, opener in _PACKED if start.startswith(magic)), None)
        if opener is None:
            yield None
            return
        state = os.fstat(file.fileno())
        with opener(file, "rb") as source:
            yield (name, state.st_mtime_ns, state.st_size), source


def windows(
    stored: Stored,
    name: str | IO[bytes],
    content: bytes | None,
    shape: tuple[int, int, int, int],
    step: int,
    window: tuple[Sequence[int], slice, slice],
) -> Iterator[NDArray[np.generic]]:
    """Yield a window of some planes of all images, `step` images at a time.

    Args:
        stored: The HDU.
        name: Path of its file, or the file.
        content: What the file contains, if it is packed.
        shape: Numbers of images, planes, rows and columns of the HDU.
        step: Number of images.
        window: Numbers of the planes, rows and columns.
    """
    planes, rows, columns = window
    every = list(planes) == list(range(shape[1]))
    for start in range(0, shape[0], step):
        # The pages of a map that stays open would count as memory of this process.
        count = min(step, shape[0] - start)
        images = stored.pixels(name, content, (count, *shape[1:]), start * math.prod(shape[1:]))
        pixels = images[:, :, rows, columns]
        block = stored.values(np.asarray(pixels if every else pixels[:, list(planes)]))
        del images, pixels
        yield block
