"""Opening of files of any kind that is read, by their headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from mergershift.archive.layouts import FileError, npy_layout
from mergershift.predicting.archive_files import complete
from mergershift.predicting.filters import filters_in
from mergershift.predicting.fits_access import is_remote
from mergershift.predicting.fits_files import open_fits
from mergershift.predicting.grouping import Opened, Partial, grouped
from mergershift.predicting.image_files import FITS_SUFFIXES, SUFFIXES, has_suffix, stem
from mergershift.predicting.pixels import NpyPixels
from mergershift.predicting.planes import Identity, Plane, StoredPlane
from mergershift.predicting.sources import Source, Unusable, headerless, source_of, with_count
from mergershift.predicting.units import Refused


def open_files(names: Iterable[str]) -> list[Source | Unusable]:
    """Open files by their headers, and join the files of one galaxy; in the order of the first file of each."""
    return grouped(entry for name in names for entry in _opened(name))


def _opened(name: str) -> Iterator[Opened]:
    try:
        if not is_remote(name) and not Path(name).is_file():
            raise Refused("a folder without images" if Path(name).is_dir() else "no such file")
        yield from [_open_npy(name)] if has_suffix(name, (".npy",)) else open_fits(name)
    except Refused as reason:
        text = str(reason)
        if text.startswith("not a FITS file") and not has_suffix(name, FITS_SUFFIXES):
            text = f"{text}; images are read from files that end with {', '.join(SUFFIXES)}"
        yield Unusable(Identity(name, stem(name)), text)


def _open_npy(name: str) -> Opened:
    try:
        layout = npy_layout(Path(name))
        layout.check_size()
    except FileError as error:
        raise Refused(f"{error.found}; expected {error.expected}") from None
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror or error})") from None
    if layout.dtype.kind not in "iuf":
        raise Refused(f"images of type {layout.dtype}, expected real numbers")
    identity = Identity(name, stem(name))
    of_file = filters_in(stem(name))
    if len(layout.shape) == 2 and len(of_file) == 1:
        pixels = NpyPixels(replace(layout, shape=(1, 1, *layout.shape)))
        plane = Plane((layout.shape[0], layout.shape[1]), of_file[0])
        return Partial(plane, StoredPlane(pixels, 0), identity, headerless=True)
    shape = with_count(layout.shape)
    found = complete(headerless(shape), name)
    return source_of(NpyPixels(replace(layout, shape=shape)), found, identity)
