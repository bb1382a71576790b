"""Location, shape and type of the array in an npy or FITS file, read from the header alone."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mergershift.core.errors import UserError, first_line


class FileError(UserError):
    """A file of the archive whose content differs from what the archive publishes."""

    def __init__(self, path: Path, found: str, expected: str, remedy: str | None = None) -> None:
        self.path, self.found, self.expected = path, found, expected
        remedy = (
            remedy or "Check all files with `mergershift data verify`, then fetch or make this one again."
        )
        super().__init__(f"{path}: {found}; expected {expected}.\n{remedy}")


@dataclass(frozen=True)
class Layout:
    """Location, shape and type of one array in a file."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    order: Literal["C", "F"] = "C"

    @property
    def end(self) -> int:
        """Offset of the first byte after the array, as the header implies."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    def check_size(self) -> None:
        """Raise FileError if the file is shorter than its header implies or, for npy, longer."""
        found = self.path.stat().st_size
        if found < self.end:
            raise FileError(self.path, f"truncated, {found} bytes", f"{self.end} bytes")
        # In FITS files other HDUs may follow.
        if found > self.end and self.path.suffix == ".npy":
            raise FileError(self.path, f"{found} bytes", f"{self.end} bytes, as its header implies")


def npy_layout(path: Path) -> Layout:
    """Read the header of an npy file; raises FileError if it is not an npy file or contains Python objects."""
    form = np.lib.format
    with path.open("rb") as file:
        try:
            old = form.read_magic(file)[0] == 1
            shape, fortran, dtype = (form.read_array_header_1_0 if old else form.read_array_header_2_0)(file)
        # NumPy parses the header as Python source, so a garbled one can raise any exception.
        except Exception as error:
            raise FileError(path, f"not an npy file ({first_line(error)})", "an npy file") from None
        if dtype.hasobject:
            raise FileError(path, "pickled Python objects, which are never loaded", "an array of numbers")
        return Layout(path, shape, dtype, file.tell(), "F" if fortran else "C")


def npy_array(path: Path) -> NDArray[Any]:
    """Read a small npy file whole.

    Raises FileError if it is not an npy file, is truncated or contains Python objects.
    """
    npy_layout(path).check_size()
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array


def fits_layout(path: Path) -> Layout:
    """Locate the images in a FITS file: in the primary HDU, or in the HDU "Images" if that is empty.

    Raises FileError if it is not a FITS file or its values are scaled.
    """
    with _open_fits(path) as hdus, _readable(path):
        hdu = _images_hdu(hdus)
        header = hdu.header
        if (header.get("BSCALE", 1), header.get("BZERO", 0)) != (1, 0):
            raise FileError(path, "values scaled by BSCALE and BZERO", "unscaled float64")
        shape = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
        dtypes = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
        return Layout(path, shape, np.dtype(dtypes[header["BITPIX"]]), hdu.fileinfo()["datLoc"])


def fits_header(path: Path) -> Any:
    """Read the header (of astropy) of the images in a FITS file; raises FileError if it is not a FITS file."""
    with _open_fits(path) as hdus, _readable(path):
        return _images_hdu(hdus).header


def _images_hdu(hdus: Any) -> Any:
    if hdus[0].header.get("NAXIS"):
        return hdus[0]
    return next((candidate for candidate in hdus if candidate.name.upper() == "IMAGES"), hdus[0])


def fits_table_column(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """Read a column of a binary table in a FITS file.

    The table is the one with one of the `names`, or the file's only table if none has. So is the column: a column
    with one of the `names`, or the table's only one. Several tables with such a name have to agree.

    Raises FileError if there is no such table or column, tables disagree or they cannot be read.
    """
    from astropy.io import fits

    expected = f'a binary table "{names[0]}"'
    known = {name.upper() for name in names}
    with _open_fits(path) as hdus, _readable(path):
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        named = [hdu for hdu in tables if hdu.name.upper() in known] or (tables if len(tables) == 1 else [])
        if not named:
            raise FileError(path, f"{len(tables)} binary tables, none of that name", expected)
        columns = [_column(path, hdu, known, expected) for hdu in named]
        if any(not np.array_equal(column, columns[0]) for column in columns):
            raise FileError(path, f'{len(named)} tables "{names[0]}" with different content', "one of them")
        return columns[0]


def _column(path: Path, table: Any, names: set[str], expected: str) -> NDArray[Any]:
    found = table.columns.names
    chosen = [name for name in found if name.upper() in names] or found
    if len(chosen) != 1:
        raise FileError(
            path, f"a table with the columns {', '.join(found) or 'none'}", f"{expected} with one column"
        )
    return np.array(table.data.field(chosen[0]))


def _open_fits(path: Path) -> Any:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            # astropy only warns of a truncated file; `Layout.check_size` raises instead.
            warnings.simplefilter("ignore")
            with ExitStack() as stack:
                hdus = stack.enter_context(fits.open(path, memmap=True))
                len(hdus)  # reads all headers, which can fail
                stack.pop_all()
                return hdus
    except Exception as error:
        raise FileError(path, f"not a FITS file ({first_line(error)})", "a FITS file") from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn any exception into a FileError, since astropy can raise any of them on a damaged FITS header."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        raise FileError(
            path, f"FITS headers that cannot be read ({first_line(error)})", "valid FITS headers"
        ) from None
