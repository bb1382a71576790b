"""Readers of the archive's npy and FITS files, which give the same arrays without loading whole files."""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import DATA_SETS, IMAGE_SIZE, DataSet
from mergershift.archive.layouts import (
    FileError,
    Layout,
    fits_layout,
    fits_table_column,
    npy_array,
    npy_layout,
)

Format = Literal["npy", "fits"]
FORMATS: tuple[Format, ...] = ("npy", "fits")
LABELS_TABLES = ("MergerLabel", "MergerLabels")
"""Names of the table of labels in a FITS file: that of the real files, and that on the archive's page."""


class Images:
    """Images of one file, `(N, C, 75, 75)` float64 in native byte order and µJy/arcsec², read on access.

    Each access maps the file, copies the rows and closes the map. Reading through gigabytes then keeps only one
    block in memory; every page touched through a map that stays open would count as memory of the process.
    """

    ndim = 4
    dtype: np.dtype[np.float64] = np.dtype(np.float64)

    def __init__(self, layout: Layout, channels: tuple[int, ...] | None = None) -> None:
        self._layout = layout
        self._channels = channels
        self.path = layout.path
        self.shape = cast("tuple[int, int, int, int]", layout.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def with_channels(self, places: tuple[int, ...]) -> Images:
        """Return the same images with the file's channels in another order, given by their places in the file."""
        return Images(self._layout, None if places == tuple(range(self.shape[1])) else places)

    def __getitem__(self, rows: int | slice | NDArray[np.integer]) -> NDArray[np.float64]:
        layout = self._layout
        mapped = np.memmap(
            layout.path, layout.dtype, mode="r", offset=layout.offset, shape=layout.shape, order=layout.order
        )
        chosen = np.asarray(mapped)[rows]
        if self._channels is not None:
            return chosen[..., self._channels, :, :].astype(np.float64, copy=False)
        copied = not isinstance(rows, int | np.integer | slice)
        return chosen.astype(np.float64, copy=False) if copied else np.array(chosen, np.float64)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float64, copy=False)

    def blocks(self, rows: int = 256) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Read the file in blocks: yields the slice of rows and their images `(rows, C, 75, 75)`."""
        for start in range(0, len(self), rows):
            block = slice(start, min(start + rows, len(self)))
            yield block, self[block]


def images_names(data_set: DataSet, format: Format) -> tuple[str, ...]:
    """List the possible names of the file of images in one format."""
    return data_set.images_names if format == "npy" else data_set.fits_names


def labels_names(data_set: DataSet, format: Format) -> tuple[str, ...]:
    """List the possible names of the file of labels in one format."""
    return data_set.labels_names if format == "npy" else data_set.fits_names


def images_file(folder: Path, data_set: DataSet, format: Format) -> Path:
    """Return the path of the images in one format, under the name that exists, else under the first."""
    return _present(folder, images_names(data_set, format))[0]


def labels_file(folder: Path, data_set: DataSet, format: Format) -> Path:
    """Return the path of the labels in one format, under the name that exists, else under the first."""
    return _present(folder, labels_names(data_set, format))[0]


def open_images(folder: Path, data_set: DataSet, format: Format | None = None) -> Images:
    """Open the images of a data set as they are stored: see `channels.open_images` for the order of the filters.

    The format is by default the first that has both images and labels in the folder, or else the first with images:
    npy or FITS.

    Raises UserError if the file is missing, truncated or pickled, if the shape is not `(N, C, 75, 75)` or if the
    type is not float64.
    """
    return images_in(_choose(images_names, folder, data_set, format), data_set)


def read_labels(folder: Path, data_set: DataSet, format: Format | None = None) -> NDArray[np.int64]:
    """Read the labels of a data set, `(N,)`: 1 for a merger, 0 for a non-merger.

    The format is by default the first that has both images and labels in the folder. The file may have any of its
    possible names, the shape `(N,)` or `(N, 1)`, and any numeric type.
    Raises UserError if it is missing or unreadable, has another shape or contains anything but 0 and 1.
    """
    return labels_in(_choose(labels_names, folder, data_set, format))


def images_in(path: Path, data_set: DataSet) -> Images:
    """Open a file of images of a data set; raises FileError under the conditions of `open_images`."""
    layout = npy_layout(path) if path.suffix == ".npy" else fits_layout(path)
    channels = len(data_set.filter_set.filters)
    if not layout.shape or not layout.shape[0] or layout.shape != data_set.shape(layout.shape[0]):
        expected = f"(N, {channels}, {IMAGE_SIZE}, {IMAGE_SIZE})"
        raise FileError(path, f"images of shape {layout.shape}", expected)
    if layout.dtype.kind != "f" or layout.dtype.itemsize != 8:
        raise FileError(path, f"images of type {layout.dtype}", "float64")
    layout.check_size()
    return Images(layout)


def labels_in(path: Path) -> NDArray[np.int64]:
    """Read a file of labels; raises FileError under the conditions of `read_labels`."""
    values = npy_array(path) if path.suffix == ".npy" else fits_table_column(path, LABELS_TABLES)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise FileError(path, f"labels of shape {values.shape}", "(N,) or (N, 1)")
    if values.dtype.kind not in "biuf":
        raise FileError(path, f"labels of type {values.dtype}", "the numbers 0 and 1")
    strange = np.flatnonzero((values != 0) & (values != 1))
    if len(strange):
        row = strange[0]
        raise FileError(path, f"label {values[row]} in row {row} ({len(strange)} such rows)", "0 or 1")
    return values.astype(np.int64)


def formats(folder: Path, data_set: DataSet) -> list[Format]:
    """List the formats in which the folder contains both images and labels of a data set."""
    return [
        format
        for format in FORMATS
        if images_file(folder, data_set, format).is_file() and labels_file(folder, data_set, format).is_file()
    ]


def available(folder: Path) -> list[DataSet]:
    """List the data sets whose images and labels the folder contains in at least one format, without reading them."""
    return [data_set for data_set in DATA_SETS.values() if formats(folder, data_set)]


def differing(paths: Sequence[Path]) -> list[Path]:
    """List those of some files, which are one file under several names, whose content differs from the first's."""
    # The comparison is remembered until a file changes, so that repeated reads do not repeat it.
    return [path for path in paths[1:] if not filecmp.cmp(paths[0], path, shallow=False)]


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    """List the paths under which a file exists; the path under its first name if there is none."""
    return [folder / name for name in names if (folder / name).is_file()] or [folder / names[0]]


def _choose(
    names: Callable[[DataSet, Format], tuple[str, ...]],
    folder: Path,
    data_set: DataSet,
    format: Format | None,
) -> Path:
    # Images and labels come from the same format, as long as one has both.
    possible_formats = [format] if format else formats(folder, data_set)[:1] or FORMATS
    candidates = [names(data_set, name) for name in possible_formats]
    for possible in candidates:
        paths = _present(folder, possible)
        if others := differing(paths):
            found = f"differs from {', '.join(path.name for path in others)}, another name of the same file"
            raise FileError(
                paths[0], found, "one of them", "Delete the one that is wrong, or both and fetch it again."
            )
        if paths[0].is_file():
            return paths[0]
    remedy = "Fetch the archive with `mergershift data fetch`, or make a mock with `mergershift data mock`."
    expected = " or ".join(possible[0] for possible in candidates)
    raise FileError(folder, "no such file", expected, remedy)
