"""Writes a table to a VOTable."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import IO, Any
from xml.sax.saxutils import escape

import numpy as np
from astropy.io.votable import tree
from astropy.table import Table

from mergershift.predicting.spool import Spool

NULL = "255"
"""Value that represents a masked small integer, where an empty cell does not."""
_TYPES = {"U": "unicodeChar", "i": "long", "u": "unsignedByte", "f": "double"}
_END = "</TABLE>"


def write_votable(file: IO[bytes], spool: Spool) -> None:
    """Write a table in the TABLEDATA serialization."""
    start, end = votable_header(spool.empty).split(_END)
    file.write(f"{start}<DATA>\n<TABLEDATA>\n".encode())
    for piece in spool.pieces():
        cells = [_cells(piece[name]) for name in piece.colnames]
        for row in zip(*cells, strict=True):
            file.write(f"<TR><TD>{'</TD><TD>'.join(row)}</TD></TR>\n".encode())
    file.write(f"</TABLEDATA>\n</DATA>\n{_END}{end}".encode())


def votable_header(empty: Table) -> str:
    """Describe a table without rows as a VOTable without data."""
    document = tree.VOTableFile()
    resource, table = tree.Resource(), tree.TableElement(document, name="predictions")
    document.resources.append(resource)
    resource.tables.append(table)
    table.description = "\n".join(empty.meta["comments"])
    for key, value in empty.meta.items():
        if key != "comments":
            text = (
                {"datatype": "unicodeChar", "arraysize": "*"}
                if isinstance(value, str)
                else {"datatype": "double"}
            )
            table.params.append(tree.Param(document, name=key, ID=key, value=value, **text))
    for name in empty.colnames:
        table.fields.append(_field(document, empty[name]))
    made = io.BytesIO()
    document.to_xml(made)
    return made.getvalue().decode()


def _field(document: tree.VOTableFile, column: Any) -> tree.Field:
    kind = column.dtype.kind
    field = tree.Field(
        document,
        ID=column.name,
        name=column.name,
        datatype=_TYPES[kind],
        arraysize=f"{column.dtype.itemsize // 4}*" if kind == "U" else None,
        unit=column.unit,
        ucd=column.meta["ucd"],
    )
    field.description = column.description
    if kind == "u":
        field.values.null = NULL
    return field


def _cells(column: Any) -> Iterable[str]:
    kind = column.dtype.kind
    if kind == "U":
        return map(escape, np.asarray(column).tolist())
    if kind == "f":
        return map(_number, np.asarray(column).tolist())
    values, mask = map(str, np.asarray(column).tolist()), np.ma.getmaskarray(column).tolist()
    return ("" if hidden else value for value, hidden in zip(values, mask, strict=True))


def _number(value: float) -> str:
    if np.isfinite(value):
        return repr(value)
    return "NaN" if value != value else f"{'+' if value > 0 else '-'}Inf"
