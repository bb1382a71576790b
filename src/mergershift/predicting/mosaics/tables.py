"""Tables of objects as surveys publish them: their columns by name, in any of the usual formats."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from astropy.utils.data import get_readable_fileobj
from numpy.typing import NDArray

from mergershift.core.errors import UserError, first_line

FORMATS = "FITS, VOTable, ECSV, CSV, Parquet, or text as SExtractor or IPAC write it"
_SEXTRACTOR = re.compile(rb"#\s*1\s+[A-Za-z_]\w*\s")
_MISSING = ("--", "-", "masked", "INDEF")
"""Texts that stand for missing values, in addition to the empty text, NaN and null."""


@dataclass(frozen=True)
class Values:
    """Values of a column."""

    values: NDArray[Any]
    """Numbers or texts `(n,)`; a SkyCoord of astropy in an array `()` for a column of positions."""
    missing: NDArray[np.bool_]
    unit: str = ""
    """Unit in the notation of the file; empty if it gives none."""


@dataclass(frozen=True)
class ObjectTable:
    """A table, of which columns are read one at a time where the format allows that."""

    columns: Mapping[str, Callable[[], Values]]
    rows: int
    frames: Sequence[str] = ()
    """Celestial frames that the file names, such as FK5."""


def read_table(name: str) -> ObjectTable:
    """Read the table of objects in a file, whose format follows from its content; raises UserError if there is none."""
    if "://" in name:
        raise UserError(
            f"{name}: a catalogue has to be a local file.\nDownload it; only mosaics can be remote."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns of every deviation from a standard.
            with get_readable_fileobj(name, encoding="binary") as file:
                head = file.read(4096)
            return _reader(head, name)(name)
    except (MemoryError, UserError):
        raise
    except OSError as error:
        raise UserError(
            f"{name}: {error.strerror or first_line(error)}.\nGive a catalogue of objects."
        ) from None
    except Exception as error:  # The readers raise many types of errors.
        raise UserError(
            f"{name}: not a table that can be read ({first_line(error)}).\nGive {FORMATS}."
        ) from None


def _reader(head: bytes, name: str) -> Callable[[str], ObjectTable]:
    start = head.lstrip()
    if start.startswith(b"SIMPLE  ="):
        return _fits
    if start.startswith(b"PAR1"):
        return _parquet
    if start.startswith((b"<?xml", b"<VOTABLE")):
        return _votable
    if b"\0" in head:
        raise UserError(f"{name}: not a table that can be read.\nGive {FORMATS}.")
    if start.startswith(b"# %ECSV"):
        return _text("ascii.ecsv")
    if _SEXTRACTOR.match(start):
        return _text("ascii.sextractor")
    first = next((line for line in start.splitlines() if not line.startswith(b"#")), b"")
    return _csv if b"," in first and not start.startswith((b"\\", b"|")) else _text("ascii")


def _fits(name: str) -> ObjectTable:
    """Read the tables of a FITS file as one where they have equally many rows, as parts of a catalogue have."""
    from astropy.io import fits

    columns: dict[str, Callable[[], Values]] = {}
    with fits.open(name, memmap=True) as hdus:
        # SExtractor keeps the header of its image as a table of one row, LDAC_IMHEAD.
        tables = {
            number: hdu
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and hdu.name != "LDAC_IMHEAD"
        }
        rows = max((int(hdu.header["NAXIS2"]) for hdu in tables.values()), default=0)
        if not tables:
            raise UserError(f"{name}: the file contains no table.\nGive {FORMATS}.")
        frames = []
        for number, hdu in tables.items():
            if hdu.header["NAXIS2"] != rows:
                continue
            frames += [str(hdu.header[card]) for card in ("RADESYS", "RADECSYS") if card in hdu.header]
            for column in hdu.columns:
                read = partial(_fits_column, name, number, column.name)
                if column.name in columns and column.name.lower() in ("id", "number"):
                    _check_same(name, columns[column.name](), read())
                columns.setdefault(column.name, read)
    return ObjectTable(columns, rows, frames)


def _fits_column(name: str, number: int, column: str) -> Values:
    from astropy.io import fits

    with fits.open(name, memmap=True) as hdus:
        known = hdus[number].columns[column]
        values = np.array(hdus[number].data[column])
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    missing = _unknown(values)
    if known.null not in (None, "") and values.dtype.kind in "iu":
        missing |= values == int(known.null)
    return Values(values, missing, known.unit or "")


def _check_same(name: str, first: Values, other: Values) -> None:
    if not np.array_equal(first.values, other.values):
        raise UserError(
            f"{name}: its tables list different objects, or in another order.\nJoin them in one table."
        )


def _parquet(name: str) -> ObjectTable:
    from pyarrow import parquet

    file = parquet.ParquetFile(name)
    schema = file.schema_arrow
    units = {one.name: (one.metadata or {}).get(b"unit", b"").decode() for one in schema}
    units |= _units_of_astropy((schema.metadata or {}).get(b"table_meta_yaml", b"").decode())
    # astropy stores the mask of a column as another one.
    masks = {one.removesuffix(".mask"): one for one in schema.names if one.endswith(".mask")}
    columns = {
        one: partial(_parquet_column, name, one, masks.get(one), units.get(one, ""))
        for one in schema.names
        if one not in masks.values()
    }
    return ObjectTable(columns, file.metadata.num_rows)


def _parquet_column(name: str, column: str, mask: str | None, unit: str) -> Values:
    from pyarrow import parquet, types

    table = parquet.read_table(name, columns=[column] if mask is None else [column, mask])
    found = table[column]
    missing = np.asarray(found.is_null())
    if mask is not None:
        missing = missing | np.asarray(table[mask], bool)
    if types.is_integer(found.type) and found.null_count:
        found = found.fill_null(0)
    values = np.asarray(found)
    if values.dtype.kind == "O":
        values = np.array(["" if value is None else str(value) for value in values], np.str_)
    return Values(values, missing | _unknown(values), unit)


def _units_of_astropy(text: str) -> dict[str, str]:
    from astropy.table.meta import get_header_from_yaml

    if not text:
        return {}
    described = get_header_from_yaml(text.splitlines())["datatype"]
    return {one["name"]: str(one.get("unit", "")) for one in described}


def _csv(name: str) -> ObjectTable:
    """Read values separated by commas; texts stay as they are written, so that an id keeps its leading zeros."""
    import pandas

    data = pandas.read_csv(
        name, dtype=str, comment="#", skipinitialspace=True, na_values=_MISSING, encoding_errors="replace"
    )
    if isinstance(data.index, pandas.RangeIndex):
        made = {str(column).strip(): partial(_csv_column, data[column]) for column in data.columns}
        return ObjectTable(made, len(data))
    raise UserError(f"{name}: rows have more values than the header has names.\nName every column.")


def _csv_column(column: Any) -> Values:
    missing = column.isna().to_numpy()
    return Values(np.array(column.fillna("").str.strip(), np.str_), missing)


def _votable(name: str) -> ObjectTable:
    from astropy.io.votable import parse

    document = parse(name, verify="ignore")
    tables = [table for table in document.iter_tables() if len(table.fields)]
    if not tables:
        raise UserError(f"{name}: the file contains no table.\nGive {FORMATS}.")
    frames = [str(system.system) for system in document.iter_coosys()]
    made = _of_astropy(max(tables, key=lambda table: len(table.array)).to_table(use_names_over_ids=True))
    return ObjectTable(made.columns, made.rows, frames)


def _text(form: str) -> Callable[[str], ObjectTable]:
    def read(name: str) -> ObjectTable:
        from astropy.table import Table

        return _of_astropy(Table.read(name, format=form))

    return read


def _of_astropy(table: Any) -> ObjectTable:
    return ObjectTable({one: partial(_astropy_column, table[one]) for one in table.colnames}, len(table))


def _astropy_column(column: Any) -> Values:
    if hasattr(column, "icrs"):
        position = np.empty((), object)
        position[()] = column
        return Values(position, np.zeros(len(column), bool))
    mask = np.zeros(len(column), bool) | np.asarray(getattr(column, "mask", False))
    values = np.asarray(getattr(column, "value", column))
    if values.dtype.kind == "O":
        values = np.array([str(value) for value in values], np.str_)
    unit = getattr(column, "unit", None)
    return Values(values, mask | _unknown(values), "" if unit is None else str(unit))


def _unknown(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        return np.isnan(values)
    if values.dtype.kind in "US":
        stripped = np.char.strip(np.char.decode(values, "latin-1") if values.dtype.kind == "S" else values)
        return np.isin(stripped, ("", "nan", "NaN", "null", "NULL", *_MISSING))
    return np.zeros(len(values), bool)
