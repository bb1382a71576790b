"""Writes a table to a FITS file."""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from mergershift.predicting.spool import Spool, ascii_text

NULL = 255
"""Value that represents a masked small integer."""
_FORMATS = {"i": ("K", ">i8"), "u": ("B", "u1"), "f": ("D", ">f8")}


def write_fits(file: IO[bytes], spool: Spool) -> None:
    """Write the binary table PREDICTIONS, with units in TUNIT, descriptions in TCOMM and UCDs in TUCD."""
    empty = spool.empty
    fields = []
    for name, column in empty.columns.items():
        text = column.dtype.kind == "U"
        fields.append((name, f"S{spool.ascii_widths[name]}" if text else _FORMATS[column.dtype.kind][1]))
    dtype = np.dtype(fields)
    file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    file.write(_header(empty, dtype, spool.count).tostring().encode("ascii"))
    for piece in spool.pieces():
        rows = np.zeros(len(piece), dtype)
        for name in piece.colnames:
            rows[name] = _values(piece[name])
        file.write(rows.tobytes())
    file.write(b"\0" * (-spool.count * dtype.itemsize % 2880))


def _header(empty: Table, dtype: np.dtype[np.void], count: int) -> fits.Header:
    columns = []
    for name, column in empty.columns.items():
        kind = column.dtype.kind
        form = f"{dtype[name].itemsize}A" if kind == "U" else _FORMATS[kind][0]
        unit = column.unit.to_string("fits") if column.unit is not None else None
        columns.append(fits.Column(name, form, unit=unit, null=NULL if kind == "u" else None))
    header = fits.BinTableHDU.from_columns(columns, nrows=0, name="PREDICTIONS").header
    header["NAXIS2"] = count
    for number, column in enumerate(empty.columns.values(), 1):
        header[f"TCOMM{number}"] = ascii_text(column.description)
        header[f"TUCD{number}"] = column.meta["ucd"]
    for key, value in empty.meta.items():
        if key != "comments":
            header[key] = ascii_text(value) if isinstance(value, str) else value
    for comment in empty.meta["comments"]:
        header["COMMENT"] = ascii_text(comment)
    return header


def _values(column: Any) -> NDArray[Any]:
    if column.dtype.kind == "U":
        return np.array([ascii_text(text) for text in column.tolist()], np.bytes_)
    return np.asarray(column.filled(NULL) if hasattr(column, "filled") else column)
