"""Writers of tables that are made in pieces, in the format that the suffix of the file names."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from astropy.table import Table

from mergershift.core.files import atomic_file
from mergershift.predicting.fits_writer import write_fits
from mergershift.predicting.parquet_writer import write_parquet
from mergershift.predicting.spool import Spool
from mergershift.predicting.votable_writer import write_votable


@contextmanager
def table_writer(path: Path, empty: Table) -> Iterator[Callable[[Table], None]]:
    """Yield a function that appends rows to a table in the format given by the suffix of `path`.

    The table appears under its name if the block ends without an error; otherwise nothing is left of it. The memory
    that it takes is that of one piece.

    Args:
        path: Path of the table, which replaces any existing file.
        empty: Table without rows, with the columns and meta that all pieces have.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with Spool.kept_in(path.parent, empty) as spool:
        yield spool.add
        with atomic_file(path) as partial, partial.open("wb") as file:
            WRITERS[path.suffix](file, spool)


def write_ecsv(file: IO[bytes], spool: Spool) -> None:
    """Write a table in the Enhanced Character-Separated Values format of astropy."""

    def text(table: Table) -> str:
        buffer = io.StringIO()
        table.write(buffer, format="ascii.ecsv")
        return buffer.getvalue()

    file.write(text(spool.empty).encode())
    for piece in spool.pieces():
        lines = text(piece)
        header = text(piece[:0]).count("\n")
        file.write(lines.split("\n", header)[header].encode())


WRITERS: dict[str, Callable[[IO[bytes], Spool], None]] = {
    ".ecsv": write_ecsv,
    ".fits": write_fits,
    ".parquet": write_parquet,
    ".vot": write_votable,
    ".xml": write_votable,
}
"""Writers by the suffix of the file."""
