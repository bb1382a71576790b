"""Reading the archive's files, npy or FITS, as the same arrays and without holding them whole in memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import DATA_SETS, IMAGE_SIZE, DataSet, RowStructure
from mergershift.errors import UserError

Format = Literal["npy", "fits"]
FORMATS: tuple[Format, ...] = ("npy", "fits")
AGAIN = "fetch it again with `mergershift data fetch`, or make a mock with `mergershift data mock`"


@dataclass(frozen=True)
class Layout:
    """Where and how a file holds one array."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    order: Literal["C", "F"] = "C"

    @property
    def end(self) -> int:
        """Size of the file in bytes, as its header implies."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


class Images:
    """Images of one file, `(N, C, 75, 75)` native float64 in µJy/arcsec², read at each access.

    Every access maps the file anew, copies the rows and lets go of the map: a walk through gigabytes keeps
    one block resident, where a map that stays open would count every page it touched.
    """

    ndim = 4
    dtype: np.dtype[np.float64] = np.dtype(np.float64)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.path = layout.path
        self.shape = cast("tuple[int, int, int, int]", layout.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.float64]:
        layout = self._layout
        mapped = np.memmap(
            layout.path, layout.dtype, mode="r", offset=layout.offset, shape=layout.shape, order=layout.order
        )
        chosen = np.asarray(mapped)[rows]
        copied = not isinstance(rows, int | np.integer | slice)
        return chosen.astype(np.float64, copy=False) if copied else np.array(chosen, np.float64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float64, copy=False)

    def blocks(self, rows: int = 256) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Walk through the file in blocks: the slice of rows and their images `(rows, C, 75, 75)`."""
        for start in range(0, len(self), rows):
            block = slice(start, min(start + rows, len(self)))
            yield block, self[block]


def images_file(folder: Path, data_set: DataSet, format: Format) -> Path:
    """Path of the images in one format, there or not."""
    return folder / (data_set.images_name if format == "npy" else data_set.fits_name)


def labels_file(folder: Path, data_set: DataSet, format: Format) -> Path:
    """Path of the labels in one format: the published npy name that is there, else the first."""
    if format == "fits":
        return folder / data_set.fits_name
    candidates = [folder / name for name in data_set.labels_names]
    return next((path for path in candidates if path.is_file()), candidates[0])


def open_images(folder: Path, data_set: DataSet, format: Format | None = None) -> Images:
    """Open the images of a data set, from npy where it is there, else from FITS, or from the `format` given.

    Raises UserError where the file is missing, truncated, pickled, of another shape than `(N, C, 75, 75)` or
    of another type than float64.
    """
    path = _choose(images_file, folder, data_set, format)
    layout = _npy_layout(path) if path.suffix == ".npy" else _fits_layout(path)
    expected = data_set.shape(layout.shape[0] if layout.shape else 0)
    if layout.shape != expected or not layout.shape[0]:
        wanted = f"(N, {expected[1]}, {IMAGE_SIZE}, {IMAGE_SIZE})"
        raise UserError(f"{path}: images of shape {layout.shape}, expected {wanted}; {AGAIN}")
    if layout.dtype.kind != "f" or layout.dtype.itemsize != 8:
        raise UserError(f"{path}: images of type {layout.dtype}, expected float64; {AGAIN}")
    _check_size(layout)
    return Images(layout)


def read_labels(folder: Path, data_set: DataSet, format: Format | None = None) -> NDArray[np.int64]:
    """Read the labels of a data set, `(N,)`: 1 for a merger, 0 for a non-merger.

    The archive's page names the file in two ways, and `(N,)`, `(N, 1)`, integers and floats are all taken.
    Raises UserError where the file is missing, unreadable, of another shape or holds anything but 0 and 1.
    """
    path = _choose(labels_file, folder, data_set, format)
    values = _npy_array(path) if path.suffix == ".npy" else _fits_labels(path)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise UserError(f"{path}: labels of shape {values.shape}, expected (N,) or (N, 1); {AGAIN}")
    if values.dtype.kind not in "biuf":
        raise UserError(f"{path}: labels of type {values.dtype}, expected numbers 0 and 1; {AGAIN}")
    strange = np.flatnonzero((values != 0) & (values != 1))
    if len(strange):
        row = strange[0]
        raise UserError(
            f"{path}: label {values[row]} in row {row} ({len(strange)} such rows), expected 0 or 1; {AGAIN}"
        )
    return values.astype(np.int64)


def read_structure(folder: Path, data_set: DataSet) -> RowStructure:
    """Infer which row shows which galaxy from the labels; raises UserError where they fit no such order."""
    path = _choose(labels_file, folder, data_set, None)
    try:
        return RowStructure.from_labels(read_labels(folder, data_set))
    except ValueError as error:
        raise UserError(f"{path}: {error}; {AGAIN}") from None


def formats(folder: Path, data_set: DataSet) -> list[Format]:
    """Formats in which both images and labels of a data set lie in the folder."""
    return [
        each
        for each in FORMATS
        if images_file(folder, data_set, each).is_file() and labels_file(folder, data_set, each).is_file()
    ]


def available(folder: Path) -> list[DataSet]:
    """Data sets whose images and labels lie in the folder in one format at least; content is not read."""
    return [each for each in DATA_SETS.values() if formats(folder, each)]


def _choose(place: Any, folder: Path, data_set: DataSet, format: Format | None) -> Path:
    paths = [place(folder, data_set, each) for each in ([format] if format else FORMATS)]
    for path in paths:
        if path.is_file():
            return cast(Path, path)
    names = " nor ".join(path.name for path in paths)
    raise UserError(f"{folder}: neither {names} is there\n{AGAIN[0].upper()}{AGAIN[1:]}")


def _check_size(layout: Layout) -> None:
    found = layout.path.stat().st_size
    if found < layout.end:
        raise UserError(f"{layout.path}: truncated, {found} bytes found, {layout.end} expected; {AGAIN}")
    # FITS fills its last record of 2880 bytes and other HDUs follow
    if found > layout.end and layout.path.suffix == ".npy":
        raise UserError(f"{layout.path}: {found} bytes found, only {layout.end} expected; {AGAIN}")


def _npy_layout(path: Path) -> Layout:
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version[0] == 1
                else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read(file)
        # a garbled header is parsed as Python source and can fail in any way
        except Exception as error:
            raise UserError(f"{path}: not an npy file ({str(error).splitlines()[0]}); {AGAIN}") from None
        if dtype.hasobject:
            raise UserError(
                f"{path}: holds pickled Python objects, which are never loaded; expected numbers; {AGAIN}"
            )
        return Layout(path, shape, dtype, file.tell(), "F" if fortran else "C")


def _npy_array(path: Path) -> NDArray[Any]:
    _check_size(_npy_layout(path))
    return cast("NDArray[Any]", np.load(path, allow_pickle=False))


def _fits_layout(path: Path) -> Layout:
    with _fits(path) as hdus:
        hdu = (
            hdus[0] if hdus[0].header.get("NAXIS") else next((h for h in hdus if h.name == "IMAGES"), hdus[0])
        )
        header = hdu.header
        if (header.get("BSCALE", 1), header.get("BZERO", 0)) != (1, 0):
            raise UserError(f"{path}: scaled by BSCALE and BZERO, expected plain float64; {AGAIN}")
        shape = tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))
        dtypes = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
        return Layout(path, shape, np.dtype(dtypes[header["BITPIX"]]), hdu.fileinfo()["datLoc"])


def _fits_labels(path: Path) -> NDArray[Any]:
    from astropy.io import fits

    with _fits(path) as hdus:
        try:
            tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
            table = next((hdu for hdu in tables if hdu.name == "MERGERLABELS"), *tables[:1])
            return np.array(table.data.field(0))
        except (StopIteration, TypeError, ValueError, OSError, IndexError) as error:
            raise UserError(
                f'{path}: no binary table "MergerLabels" that can be read ({error}); {AGAIN}'
            ) from None


def _fits(path: Path) -> Any:
    from astropy.io import fits

    try:
        with warnings.catch_warnings():
            # astropy only warns of a truncated file; sizes are checked here and raise
            warnings.simplefilter("ignore")
            hdus = fits.open(path, memmap=True)
            len(hdus)
            return hdus
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a FITS file ({str(error).splitlines()[0]}); {AGAIN}") from None
