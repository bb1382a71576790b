"""Rows of a table on disk until all are known, since most formats begin with the widths of texts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from astropy.table import MaskedColumn, Table

if TYPE_CHECKING:
    import pyarrow

PIECE = 4096
"""Number of rows that are written at a time."""


class Spool:
    """Pieces of a table in a temporary file; `kept_in` creates it."""

    def __init__(self, file: IO[bytes], empty: Table) -> None:
        self._file, self._empty = file, empty
        self._schema = arrow_schema(empty)
        self._writer = _ipc().new_stream(file, self._schema)
        self._widths = {name: 1 for name in empty.colnames if empty[name].dtype.kind == "U"}
        self.ascii_widths = dict(self._widths)
        """Lengths of the longest texts in ASCII, as returned by `ascii_text`, by column."""
        self.count = 0
        """Number of rows."""

    @classmethod
    @contextmanager
    def kept_in(cls, folder: Path, empty: Table) -> Iterator[Spool]:
        """Yield a spool in `folder` for pieces with the columns and meta of `empty`, and delete it at the end."""
        with tempfile.TemporaryFile(dir=folder) as file:
            yield cls(file, empty)

    def add(self, piece: Table) -> None:
        """Append rows."""
        self._writer.write_batch(record_batch(piece, self._schema))
        self.count += len(piece)
        for name, width in self._widths.items():
            self._widths[name] = max(width, piece[name].dtype.itemsize // 4)
            longest = max((len(ascii_text(text)) for text in piece[name].tolist()), default=1)
            self.ascii_widths[name] = max(self.ascii_widths[name], longest)

    @property
    def empty(self) -> Table:
        """The table without rows, with texts as wide as the longest of their column."""
        table = self._empty.copy()
        for name, width in self._widths.items():
            column = table[name]
            table.replace_column(name, type(column)(column, dtype=f"U{width}"))
        return table

    def pieces(self) -> Iterator[Table]:
        """Yield the rows in order, in pieces of about `PIECE` rows; nothing can be added after that."""
        import pyarrow

        self._writer.close()
        self._file.seek(0)
        with _ipc().open_stream(self._file) as stored:
            for batches in _grouped(stored):
                joined = pyarrow.Table.from_batches(batches).combine_chunks().to_batches()[0]
                columns = {name: self._column(name, joined.column(name)) for name in joined.schema.names}
                yield Table(columns, copy=False)

    def _column(self, name: str, values: Any) -> Any:
        if name in self._widths:
            return np.array(values.to_pylist(), dtype=np.str_)
        if not isinstance(self._empty[name], MaskedColumn):
            return values.to_numpy()
        return MaskedColumn(
            values.fill_null(0).to_numpy(), mask=values.is_null().to_numpy(zero_copy_only=False)
        )


def _grouped(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[list[pyarrow.RecordBatch]]:
    group: list[pyarrow.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(part.num_rows for part in group) >= PIECE:
            yield group
            group = []
    if any(part.num_rows for part in group):
        yield group


def ascii_text(text: str) -> str:
    """Convert text to ASCII, with other characters as Python's escape sequences."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def arrow_schema(empty: Table) -> pyarrow.Schema:
    """Create the schema of a table's columns in Arrow, where masked values are null."""
    import pyarrow

    return pyarrow.schema(
        [
            (name, pyarrow.string() if column.dtype.kind == "U" else pyarrow.from_numpy_dtype(column.dtype))
            for name, column in empty.columns.items()
        ]
    )


def record_batch(table: Table, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    """Convert rows to Arrow."""
    import pyarrow

    arrays = [
        pyarrow.array(np.asarray(column), schema.field(name).type, mask=getattr(column, "mask", None))
        for name, column in table.columns.items()
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, schema=schema)


def _ipc() -> Any:
    import pyarrow.ipc

    return pyarrow.ipc
