"""Sources of images, which are read in blocks and converted to the model's format: npy files, FITS files, arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mergershift.archive import Images
from mergershift.archive.layouts import FileError, npy_layout
from mergershift.core.errors import first_line
from mergershift.predicting.archive_files import complete
from mergershift.predicting.conversion import Assumed, ConversionPlan, Description, make_plan
from mergershift.predicting.fits_headers import describe, image_hdu
from mergershift.predicting.units import Refused

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

BLOCK_BYTES = 2**25
"""Size of the blocks of float64 images that are read at a time; a block has at least one image."""


@dataclass(frozen=True, slots=True)
class Source:
    """The images of one file or array."""

    name: str
    count: int
    plan: ConversionPlan
    raw: Callable[[], Iterator[NDArray[np.float64]]]
    """Reads all images, unconverted, in blocks `(n, C, H, W)`."""

    def blocks(self) -> Iterator[NDArray[np.float64]]:
        """Yield all images in the model's format; raises Refused if they turn out to be unreadable."""
        try:
            for images in self.raw():
                yield self.plan(images)
        except (MemoryError, Refused):
            raise
        # A damaged file can raise any exception, at any of its images.
        except Exception as error:
            raise Refused(f"cannot be read ({first_line(error)})") from error


def open_file(name: str, assumed: Assumed, facts: ModelFacts) -> Source:
    """Open a file by its header; raises Refused, with the reason, if its images cannot be converted."""
    if not Path(name).is_file():
        raise Refused("no such file")
    return (_open_npy if name.endswith(".npy") else _open_fits)(name, assumed, facts)


def open_array(images: Any, assumed: Assumed, facts: ModelFacts) -> Source:
    """Use an array or tensor `(N, C, H, W)` or `(C, H, W)`; raises Refused if it cannot be converted."""
    shape = _with_count(tuple(images.shape))
    plan = make_plan(Description(shape[1:], headerless=True), assumed, facts)
    return Source("", shape[0], plan, partial(_array_blocks, images.reshape(shape), _rows(shape)))


def _open_npy(name: str, assumed: Assumed, facts: ModelFacts) -> Source:
    try:
        layout = npy_layout(Path(name))
        layout.check_size()
    except FileError as error:
        raise Refused(f"{error.found}; expected {error.expected}") from None
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror or error})") from None
    if layout.dtype.kind not in "iuf":
        raise Refused(f"images of type {layout.dtype}, expected real numbers")
    shape = _with_count(layout.shape)
    plan = make_plan(complete(Description(shape[1:], headerless=True), name), assumed, facts)
    images = Images(replace(layout, shape=shape))
    return Source(name, shape[0], plan, partial(_npy_blocks, images, _rows(shape)))


def _open_fits(name: str, assumed: Assumed, facts: ModelFacts) -> Source:
    try:
        with warnings.catch_warnings(record=True) as caught, fits.open(name, memmap=False) as hdus:
            warnings.simplefilter("always")
            number = image_hdu(hdus)
            shape = _with_count(tuple(hdus[number].shape))
            found = describe(hdus[number], hdus[0].header)
            tables = [hdu.name for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
            found = complete(found, name, (hdus[number].header, hdus[0].header), tables)
    except (MemoryError, Refused):
        raise
    except Exception as error:
        raise Refused(f"not a FITS file ({first_line(error)})") from None
    if any("truncated" in str(warning.message) for warning in caught):
        raise Refused("truncated; the file is shorter than its headers imply")
    plan = make_plan(found, assumed, facts)
    return Source(name, shape[0], plan, partial(_fits_blocks, name, number, shape))


def _npy_blocks(images: Images, rows: int) -> Iterator[NDArray[np.float64]]:
    for _, block in images.blocks(rows):
        yield block


def _fits_blocks(name: str, number: int, shape: tuple[int, ...]) -> Iterator[NDArray[np.float64]]:
    rows = _rows(shape)
    # The file is not mapped, since the pages of a map would count as memory of this process.
    with fits.open(name, memmap=False) as hdus:
        hdu = hdus[number]
        single = len(hdu.shape) == 3
        for start in range(0, shape[0], rows):
            block = hdu.section[:] if single else hdu.section[start : start + rows]
            yield np.asarray(block, np.float64).reshape(-1, *shape[1:])


def _array_blocks(images: Any, rows: int) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(images), rows):
        block = images[start : start + rows]
        yield np.asarray(block.detach().cpu() if hasattr(block, "detach") else block, np.float64)


def _with_count(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) == 3:
        shape = (1, *shape)
    if len(shape) != 4 or not all(shape):
        raise Refused(f"images of shape {shape}, expected (C, H, W) or (N, C, H, W)")
    return shape[0], shape[1], shape[2], shape[3]


def _rows(shape: tuple[int, ...]) -> int:
    return max(1, BLOCK_BYTES // (8 * shape[1] * shape[2] * shape[3]))
