"""Headers of the archive's FITS files: as the files on the server have them, and how to recognise them.

Source: the published runs of the archive's own tutorial (spacetelescope/hellouniverse). They do not show the values of
HLSPLEAD and HLSPNAME.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.fits import BinTableHDU, Column, Header, getheader
from numpy.typing import NDArray

from mergershift.archive.facts import (
    DOI,
    FILTER_SETS,
    LICENCE,
    LICENCE_ADDRESS,
    PIXEL_ARCSEC,
    REFERENCE,
    DataSet,
    FilterSet,
)
from mergershift.archive.readers import LABELS_TABLES

COLLECTION = "DEEPMERGE"
"""Value of HLSPID, by which the headers of the archive's files are recognised under any file name."""
IMAGES_HDU = "Images"
MOCK_CARD = "MOCK"
"""Keyword that only mocks have."""


def images_header(data_set: DataSet, rows: int) -> Header:
    """Make the primary header of a file of the archive with a number of images."""
    filters, shape = data_set.filter_set, data_set.shape(rows)
    # The comment lists the filters in another order than the file's name, as it does in the real files.
    listed = sorted(filters.filter_names, key=lambda name: (name == "f160w", name != "f814w"))
    header = Header()
    header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, -64, len(shape)
    for axis, length in enumerate(reversed(shape), 1):
        header[f"NAXIS{axis}"] = length
    header["EXTEND"] = True
    header["EXTNAME"] = IMAGES_HDU
    header["BUNIT"] = "microjanskies/arcsec^2"
    header["PIXSIZE"] = PIXEL_ARCSEC, "arcsec"
    for number, name in enumerate(("ImageX", "ImageY", "filter", "object"), 1):
        header[f"NAME{number}"] = name, ",".join(listed).upper() if name == "filter" else ""
    header["DOI"] = DOI
    header["HLSPID"] = COLLECTION
    header["HLSPLEAD"] = "Aleksandra Ciprijanovic"
    header["HLSPNAME"] = "DeepMerge"
    header["HLSPTARG"] = "Illustris Simulation"
    header["HLSPVER"] = "v1"
    header["SIMULATD"] = True
    header["INSTRUME"] = ",".join(filters.instruments)
    header["OBSERVAT"] = header["TELESCOP"] = ",".join(filters.observatories)
    header["PROPOSID"] = "HST AR#13887"
    header["LICENSE"] = LICENCE
    header["LICENURL"] = LICENCE_ADDRESS
    header["REFERENC"] = REFERENCE
    return header


def labels_table(labels: NDArray[np.integer]) -> BinTableHDU:
    """Make the binary table of the labels `(N,)` that follows the images."""
    name = LABELS_TABLES[0]
    table = BinTableHDU.from_columns([Column(name, "D", array=np.asarray(labels, np.float64))])
    table.header["EXTNAME"] = name
    return table


def mark_as_mock(header: Header) -> None:
    """State in the header of a mock that it is none of the archive's files."""
    header[MOCK_CARD] = True, "simulated stand-in made by mergershift"
    header["COMMENT"] = "MOCK IMAGES, NOT THE ARCHIVE. The other cards imitate the headers of the"
    header["COMMENT"] = "archive, whose DOI, licence and reference do not apply to these images."


def is_mock(path: Path) -> bool:
    """Return whether a FITS file states that it is a mock; a file that cannot be read does not."""
    try:
        return bool(getheader(path, 0).get(MOCK_CARD))
    except Exception:  # astropy can raise any exception on a damaged file, which other checks report.
        return False


def published_filters(
    headers: Sequence[Mapping[str, Any]], tables: Sequence[str], channels: int
) -> FilterSet | None:
    """Recognise images of the archive by their headers, and return the filter set with that number of channels.

    Args:
        headers: Headers of the HDU with the images and of the file.
        tables: Names of the binary tables in the file.
        channels: Number of channels of the images.

    Returns None for other images, and for channels that are no complete filter set.
    """
    stated = any(str(header.get("HLSPID", "")).strip().upper() == COLLECTION for header in headers)
    named = any(str(header.get("EXTNAME", "")).strip().upper() == IMAGES_HDU.upper() for header in headers)
    labelled = {name.upper() for name in LABELS_TABLES} & {name.upper() for name in tables}
    if not stated and not (named and labelled):
        return None
    return next((known for known in FILTER_SETS.values() if len(known.filters) == channels), None)
