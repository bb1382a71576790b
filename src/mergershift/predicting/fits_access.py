"""FITS files, near or far: their headers at once, and windows of their pixels when asked for."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mergershift.core.errors import first_line
from mergershift.predicting.fits_layout import (
    Stored,
    Truncated,
    stored_hdus,
    unpacked,
    unpacked_file,
    windows,
)
from mergershift.predicting.pixels import copied, images_per_block
from mergershift.predicting.planes import Rows
from mergershift.predicting.strips import STRIP
from mergershift.predicting.units import Refused

_TRUNCATED = "truncated; the file is shorter than its headers imply"


@dataclass(frozen=True, slots=True)
class Hdu:
    """A header-data unit as its header describes it."""

    number: int
    name: str
    """EXTNAME in upper case; PRIMARY for the first HDU without one, empty for others."""
    version: str
    """EXTVER as text, which is not always a number; empty if there is none."""
    header: fits.Header
    """The header; that of the image, if the image is compressed."""
    shape: tuple[int, ...]
    """Lengths of the axes in numpy's order; empty without an image."""
    kind: Literal["image", "table", "other"]


def is_remote(name: str) -> bool:
    """Whether a name is an address, such as ``s3://...`` or ``https://...``, rather than a path."""
    return "://" in name


def read_headers(name: str) -> list[Hdu]:
    """Read the headers of a local or remote FITS file, compressed or not, but no pixels.

    Raises Refused, with the reason, if the file is missing, unreadable, truncated or not a FITS file.
    """
    if not is_remote(name) and not Path(name).is_file():
        raise Refused("no such file")
    try:
        plain, content = _plain(name, whole=True)
        if plain is not None:
            return [_of_plain(number, hdu) for number, hdu in enumerate(plain)]
        with warnings.catch_warnings(record=True) as caught, _opened(name, content) as hdus:
            warnings.simplefilter("always")
            found = [_described(number, hdu) for number, hdu in enumerate(hdus)]
    except MemoryError:
        raise
    except Truncated:
        raise Refused(_TRUNCATED) from None
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise Refused(
            f"cannot be read ({reason})" if error.errno else f"not a FITS file ({reason})"
        ) from None
    except Exception as error:
        raise Refused(f"not a FITS file ({first_line(error)})") from None
    if any("truncated" in str(warning.message) for warning in caught):
        raise Refused(_TRUNCATED)
    return found


class FitsPixels:
    """Pixels of the images of an HDU, read a window at a time.

    Args:
        name: Path or address of the file.
        number: Number of the HDU.
        shape: Numbers of images, planes, rows and columns; together they order the pixels as the HDU does.
    """

    def __init__(self, name: str, number: int, shape: tuple[int, int, int, int]) -> None:
        self.name, self.number, self._shape = name, number, shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Numbers of images, planes, rows and columns."""
        return self._shape

    def blocks(self, planes: Sequence[int], rows: slice, columns: slice) -> Iterator[NDArray[np.generic]]:
        """Yield a window of some planes of all images, in order and in blocks `(n, len(planes), h, w)`.

        Raises any exception for a file that is damaged or out of reach.
        """
        images = self._shape[0]
        step = images_per_block(len(planes), rows, columns)
        plain, content, file = _plain_pixels(self.name)
        if plain is not None:
            window = planes, rows, columns
            yield from windows(plain[self.number], file, content, self._shape, step, window)
            return
        with _opened(self.name, content) as hdus:
            section, axes = hdus[self.number].section, len(hdus[self.number].shape)
            for start in range(0, images, step):
                block = []
                for image in range(start, min(start + step, images)):
                    for plane in planes:
                        place = self._place(axes, image, plane)
                        block.append(_native(section[(*place, rows, columns)]))
                yield np.stack(block).reshape(-1, len(planes), *block[0].shape)

    @contextmanager
    def opened(self, image: int, plane: int, rows: slice, columns: slice) -> Iterator[Rows]:
        """Open a window of one plane of one image, which is copied if it is compressed or remote.

        Raises any exception for a file that is damaged or out of reach.
        """
        plain, content, file = _plain_pixels(self.name)
        if plain is not None:
            stored, first = plain[self.number], (image * self._shape[1] + plane) * self._shape[2] + rows.start
            length = self._shape[3]

            def read(start: int, stop: int) -> NDArray[np.generic]:
                pixels = stored.pixels(file, content, (stop - start, length), (first + start) * length)
                return stored.values(pixels[:, columns])

            yield read
            return
        with _opened(self.name, content) as hdus:
            section = hdus[self.number].section
            place = self._place(len(hdus[self.number].shape), image, plane)
            width = columns.stop - columns.start
            starts = range(rows.start, rows.stop, max(1, STRIP // width))
            parts = (slice(start, min(start + starts.step, rows.stop)) for start in starts)
            pieces = (
                (part.start - rows.start, 0, _native(section[(*place, part, columns)])) for part in parts
            )
            with copied(pieces, width) as copy:
                yield copy

    def _place(self, axes: int, image: int, plane: int) -> tuple[int, ...]:
        """Find a plane in an HDU with this number of axes."""
        return {2: (), 3: (image * self._shape[1] + plane,), 4: (image, plane)}[axes]


def _plain(name: str, *, whole: bool = False) -> tuple[list[Stored] | None, bytes | None]:
    """List the HDUs of a file that need no library, else None; and what it contains if it is packed."""
    if is_remote(name):
        return None, None
    content = unpacked(name)
    return stored_hdus(name, content, whole=whole), content


def _plain_pixels(name: str) -> tuple[list[Stored] | None, bytes | None, str | IO[bytes]]:
    """Do as `_plain` does, and return the file to read, which is a copy of one that is too large when unpacked."""
    plain, content = _plain(name)
    if plain is None and content is None and not is_remote(name):
        copy = unpacked_file(name)
        if copy is not None:
            return stored_hdus(copy, None, whole=False), None, copy
    return plain, content, name


@contextmanager
def _opened(name: str, content: bytes | None) -> Iterator[fits.HDUList]:
    if content is not None:
        with fits.open(io.BytesIO(content)) as hdus:
            yield hdus
    elif is_remote(name):
        with fits.open(name, use_fsspec=True) as hdus:
            yield hdus
    else:
        # The file is not mapped, since the pages of a map would count as memory of this process.
        with fits.open(name, memmap=False) as hdus:
            yield hdus


def _of_plain(number: int, hdu: Stored) -> Hdu:
    kind = str(hdu.header.get("XTENSION", "IMAGE")).strip().upper()
    return _hdu(number, hdu.header, hdu.shape, kind == "IMAGE", kind in ("BINTABLE", "TABLE"))


def _described(number: int, hdu: Any) -> Hdu:
    image = isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU)
    table = isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
    return _hdu(number, hdu.header, tuple(hdu.shape) if image else (), image, table)


def _hdu(number: int, header: fits.Header, shape: tuple[int, ...], image: bool, table: bool) -> Hdu:
    return Hdu(
        number,
        str(header.get("EXTNAME", "" if number else "PRIMARY")).strip().upper(),
        str(header.get("EXTVER", "")).strip(),
        header,
        tuple(map(int, shape)) if image else (),
        "image" if image else "table" if table else "other",
    )


def _native(pixels: Any) -> NDArray[np.generic]:
    pixels = np.asarray(pixels)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
