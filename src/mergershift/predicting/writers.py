"""Writers of tables in pieces, as ECSV, FITS or Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table
from numpy.typing import NDArray

from mergershift.core.files import atomic_file
from mergershift.predicting.arguments import FORMATS

Write = Callable[[Table], object]
Width = Callable[[str], int]
"""Gives the length of the longest text in a column, in ASCII as returned by `fits_text`."""
NULL = 255
"""Value that represents a masked small integer in a FITS table."""
_FITS_FORMATS = {"i": ("K", ">i8"), "u": ("B", "u1"), "f": ("D", ">f8")}


@contextmanager
def table_writer(path: Path, empty: Table, width: Width) -> Iterator[Write]:
    """Yield a function that appends rows to a table in the format given by the suffix of `path`.

    The table appears under its name if the block ends without an error; otherwise it is deleted.

    Args:
        path: Path of the table, which replaces any existing file.
        empty: Table without rows, with the columns and meta that all pieces have.
        width: Gives the width of a text column; called only for formats that need it in advance.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_file(path) as partial,
        partial.open("wb") as file,
        WRITERS[path.suffix](file, empty, width) as write,
    ):
        yield write


@contextmanager
def _ecsv(file: IO[bytes], empty: Table, width: Width) -> Iterator[Write]:
    def text(table: Table) -> str:
        buffer = io.StringIO()
        table.write(buffer, format="ascii.ecsv")
        return buffer.getvalue()

    header = text(empty)
    lines = header.count("\n")
    file.write(header.encode())
    yield lambda table: file.write(text(table).split("\n", lines)[lines].encode())


@contextmanager
def _parquet(file: IO[bytes], empty: Table, width: Width) -> Iterator[Write]:
    import pyarrow as arrow
    from pyarrow.parquet import ParquetWriter

    # astropy restores the same table from these; other readers find the descriptions in the columns.
    record = {"table_meta_yaml": "\n".join(get_yaml_from_table(empty))}
    texts = [name for name in empty.colnames if empty[name].dtype.kind == "U"]
    record |= {f"table::len::{name}": str(width(name)) for name in texts}
    record |= {key.lower(): str(value) for key, value in empty.meta.items() if key != "comments"}
    record["comments"] = "\n".join(empty.meta["comments"])
    schema = arrow.schema(
        [
            arrow.field(
                name,
                arrow.string() if name in texts else arrow.from_numpy_dtype(empty[name].dtype),
                metadata={"description": empty[name].description},
            )
            for name in empty.colnames
        ],
        metadata=record,
    )

    def column(table: Table, name: str) -> Any:
        mask = getattr(table[name], "mask", None)
        return arrow.array(np.asarray(table[name]), schema.field(name).type, mask=mask)

    with ParquetWriter(file, schema) as writer:
        yield lambda table: writer.write_table(
            arrow.Table.from_arrays([column(table, name) for name in schema.names], schema=schema)
        )


@contextmanager
def _fits(file: IO[bytes], empty: Table, width: Width) -> Iterator[Write]:
    columns, fields = [], []
    for name in empty.colnames:
        kind = empty[name].dtype.kind
        length = max(width(name), 1) if kind == "U" else 0
        form, dtype = (f"{length}A", f"S{length}") if kind == "U" else _FITS_FORMATS[kind]
        columns.append(fits.Column(name, form, null=NULL if kind == "u" else None))
        fields.append((name, dtype))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=0, name="PREDICTIONS")
    for number, name in enumerate(empty.colnames, 1):
        hdu.header[f"TCOMM{number}"] = fits_text(empty[name].description)
    for key, value in empty.meta.items():
        if key != "comments":
            hdu.header[key] = fits_text(value) if isinstance(value, str) else value
    for comment in empty.meta["comments"]:
        hdu.header["COMMENT"] = fits_text(comment)
    file.write(fits.PrimaryHDU().header.tostring().encode("ascii"))
    start, rows = file.tell(), 0
    file.write(hdu.header.tostring().encode("ascii"))

    def write(table: Table) -> None:
        nonlocal rows
        made = np.zeros(len(table), fields)
        for name in table.colnames:
            made[name] = _fits_values(table[name])
        file.write(made.tobytes())
        rows += len(table)

    yield write
    file.write(b"\0" * (-rows * np.dtype(fields).itemsize % 2880))
    # The number of rows is known only now; the header keeps its length.
    hdu.header["NAXIS2"] = rows
    file.seek(start)
    file.write(hdu.header.tostring().encode("ascii"))


def _fits_values(column: Any) -> NDArray[Any]:
    values = column.filled(NULL) if hasattr(column, "filled") else column
    return np.asarray([fits_text(value) for value in values] if column.dtype.kind == "U" else values)


def fits_text(text: str) -> str:
    """Convert text to ASCII for FITS, with other characters as Python's escape sequences."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


WRITERS = dict(zip(FORMATS, (_ecsv, _fits, _parquet), strict=True))
"""Writers by the suffix of the file."""
