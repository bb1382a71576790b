"""Tables written piece by piece, as ECSV, FITS or Parquet."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.table.meta import get_yaml_from_table
from numpy.typing import NDArray

from mergershift.errors import UserError

Write = Callable[[Table], object]
NULL = 255
"""What stands in a FITS table for a masked small integer."""
_FITS_FORMATS = {"i": ("K", ">i8"), "u": ("B", "u1"), "f": ("D", ">f8")}


def check_output(path: Path, overwrite: bool) -> None:
    """Raise UserError where no table can be written to `path`, or one lies there and is to stay."""
    if path.suffix not in WRITERS:
        raise UserError(
            f"{path}: no format of that name.\nLet it end with {', '.join(WRITERS)} (ECSV, FITS, Parquet)."
        )
    if path.is_dir() or (path.exists() and not overwrite):
        raise UserError(f"{path}: exists.\nGive --overwrite to replace it, or another --output.")


@contextmanager
def writing_table(path: Path, empty: Table, widths: Mapping[str, int]) -> Iterator[Write]:
    """A function that adds rows to a table in the format that the suffix names.

    The table appears under its name when the block ends without an error, else nothing is left.

    Args:
        path: is replaced.
        empty: columns and meta of the table, without rows; every piece has the same.
        widths: longest text in each column of texts, in characters; FITS needs it beforehand.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file, WRITERS[path.suffix](file, empty, widths) as write:
            yield write
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _ecsv(file: IO[bytes], empty: Table, widths: Mapping[str, int]) -> Iterator[Write]:
    def text(table: Table) -> str:
        made = io.StringIO()
        table.write(made, format="ascii.ecsv")
        return made.getvalue()

    header = text(empty)
    lines = header.count("\n")
    file.write(header.encode())
    yield lambda table: file.write(text(table).split("\n", lines)[lines].encode())


@contextmanager
def _parquet(file: IO[bytes], empty: Table, widths: Mapping[str, int]) -> Iterator[Write]:
    import pyarrow as arrow
    from pyarrow.parquet import ParquetWriter

    # With these astropy gives the same table back; other readers find descriptions at the columns.
    record = {"table_meta_yaml": "\n".join(get_yaml_from_table(empty))}
    record |= {f"table::len::{name}": str(width) for name, width in widths.items()}
    record |= {key.lower(): str(value) for key, value in empty.meta.items() if key != "comments"}
    record["comments"] = "\n".join(empty.meta["comments"])
    schema = arrow.schema(
        [
            arrow.field(
                name,
                arrow.string()
                if empty[name].dtype.kind == "U"
                else arrow.from_numpy_dtype(empty[name].dtype),
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
def _fits(file: IO[bytes], empty: Table, widths: Mapping[str, int]) -> Iterator[Write]:
    columns, fields = [], []
    for name in empty.colnames:
        kind = empty[name].dtype.kind
        width = max(widths.get(name, 1), 1)
        form, dtype = (f"{width}A", f"S{width}") if kind == "U" else _FITS_FORMATS[kind]
        columns.append(fits.Column(name, form, null=NULL if kind == "u" else None))
        fields.append((name, dtype))
    hdu = fits.BinTableHDU.from_columns(columns, nrows=0, name="PREDICTIONS")
    for number, name in enumerate(empty.colnames, 1):
        hdu.header[f"TCOMM{number}"] = empty[name].description
    for key, value in empty.meta.items():
        if key != "comments":
            hdu.header[key] = value
    for comment in empty.meta["comments"]:
        hdu.header["COMMENT"] = comment
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
    # How many rows there are is known at the end; the header keeps its length.
    hdu.header["NAXIS2"] = rows
    file.seek(start)
    file.write(hdu.header.tostring().encode("ascii"))


def _fits_values(column: Any) -> NDArray[Any]:
    values = column.filled(NULL) if hasattr(column, "filled") else column
    return np.asarray(fits_text(values) if column.dtype.kind == "U" else values)


def fits_text(values: NDArray[np.str_]) -> NDArray[np.bytes_]:
    """Texts as FITS takes them, in ASCII: other characters as Python's escapes."""
    return np.char.encode(np.asarray(values, np.str_), "ascii", "backslashreplace")


WRITERS = {".ecsv": _ecsv, ".fits": _fits, ".parquet": _parquet}
"""How a table is written, by the suffix of its file."""
