"""Writes a table to a Parquet file, with metadata for astropy, pandas, TOPCAT and other readers."""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Any

from astropy.table import Table
from astropy.table.meta import get_yaml_from_table

from mergershift.predicting.spool import Spool, arrow_schema, record_batch
from mergershift.predicting.votable_writer import votable_header

if TYPE_CHECKING:
    import pyarrow

_PANDAS_TYPES = {
    "U": ("unicode", "str"),
    "i": ("int64", "int64"),
    "u": ("uint8", "UInt8"),
    "f": ("float64", "float64"),
}


def write_parquet(file: IO[bytes], spool: Spool) -> None:
    """Write a table whose masked values are null."""
    from pyarrow.parquet import ParquetWriter

    schema = _schema(spool.empty)
    with ParquetWriter(file, schema) as writer:
        for piece in spool.pieces():
            writer.write_batch(record_batch(piece, schema))


def _schema(empty: Table) -> pyarrow.Schema:
    """Create the schema, with the table's meta; descriptions, units and UCDs are the metadata of the fields as well."""
    record = {
        "table_meta_yaml": "\n".join(get_yaml_from_table(empty)),
        # A convention by which TOPCAT finds descriptions, units and UCDs: https://www.ivoa.net/documents/Notes/VOParquet/
        "IVOA.VOTable-Parquet.version": "1.0",
        "IVOA.VOTable-Parquet.content": votable_header(empty),
        "pandas": json.dumps(_for_pandas(empty)),
    }
    record |= {key.lower(): str(value) for key, value in empty.meta.items() if key != "comments"}
    record["comments"] = "\n".join(empty.meta["comments"])
    schema = arrow_schema(empty)
    for place, (name, column) in enumerate(empty.columns.items()):
        about = {"description": column.description, "ucd": column.meta["ucd"]}
        if column.unit is not None:
            about["unit"] = str(column.unit)
        schema = schema.set(place, schema.field(name).with_metadata(about))
        if column.dtype.kind == "U":
            record[f"table::len::{name}"] = str(column.dtype.itemsize // 4)
    return schema.with_metadata(record)


def _for_pandas(empty: Table) -> dict[str, Any]:
    """Describe the columns for pandas, which otherwise reads integers with nulls as floating-point numbers."""
    columns = []
    for name, column in empty.columns.items():
        logical, stored = _PANDAS_TYPES[column.dtype.kind]
        kinds = {"pandas_type": logical, "numpy_type": stored}
        columns.append({"name": name, "field_name": name, **kinds, "metadata": None})
    return {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
