"""The one way to read a text, JSON, YAML or CSV file: whatever is wrong with the file raises `DamagedFile`.

The error names the file, the entry, what was found and what was expected, and gives the remedy that the caller knows.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from mergershift.core.errors import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Columns = Mapping[str, type[int] | type[float] | type[str]]
"""Names and types of the columns that a table must have; an empty field of a float is NaN."""

LARGEST = 256 * 2**20
"""Largest size, in bytes, of a file that is read."""
FEW = 8192
"""Number of characters below which a table is parsed faster field by field than by pandas."""
CUT_OFF = "its last line has no end, so the file was cut off"
_LONGEST_VALUE = 60
_UNION = ("int", "float", "str", "bool")
"""Names of types that pydantic adds to a path where a value may have several."""
_EXPECTED = {int: "an integer", float: "a number", str: "text"}


class DamagedFile(UserError):
    """A file that is missing, cannot be read or does not contain what belongs into it."""


def damaged(path: Path, fault: str, remedy: str) -> DamagedFile:
    """Create the error for a file with this fault."""
    return DamagedFile(f"{path}: {fault}.\n{remedy}")


def read_text(path: Path, remedy: str, largest: int = LARGEST) -> str:
    """Read a text file in UTF-8; raises DamagedFile if that fails or if it has more than `largest` bytes."""
    if path.exists() and not path.is_file():  # to open a named pipe would wait for its other end
        raise damaged(path, f"{'a folder' if path.is_dir() else 'a device or pipe'}, expected a file", remedy)
    try:
        with path.open("rb") as file:
            content = file.read(largest + 1)
    except FileNotFoundError as error:
        raise damaged(path, "no such file", remedy) from error
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", remedy) from error
    if len(content) > largest:
        raise damaged(path, f"more than {largest / 2**20:.3g} MiB, expected a smaller file", remedy)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        fault = f"byte {error.start} is 0x{content[error.start]:02x}, expected text in UTF-8"
        raise damaged(path, fault, remedy) from error


def read_json(path: Path, kind: type[T], remedy: str, *, strict: bool = False) -> T:
    """Read a JSON file as `kind`, any type that pydantic validates; raises DamagedFile if it is anything else.

    Args:
        path: the file.
        kind: expected type.
        remedy: what to do about a damaged file.
        strict: refuse values of another type even if they could be converted, for instance a number in quotes.
    """
    text = read_text(path, remedy)
    _require_content(path, text, remedy)
    try:
        return TypeAdapter(kind).validate_json(text, strict=strict)
    except ValidationError as error:
        raise damaged(path, fault_of(error), remedy) from error


def checked(path: Path, content: Any, kind: type[T], remedy: str) -> T:
    """Return the content of a file as `kind`; raises DamagedFile if it is anything else."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise damaged(path, fault_of(error), remedy) from error


def fault_of(error: ValidationError) -> str:
    """Word the first fault that pydantic found: the entry, what was found and what was expected."""
    place = place_of(error.errors(include_url=False)[0]["loc"])
    finding = finding_of(error)
    return f"{place}: {finding}" if place else finding


def place_of(path: Sequence[str | int]) -> str:
    """Word the path to an entry: ``training.epochs``, or ``entry 3 of methods: transfer`` inside of a list."""
    place, inside = "", False
    for part in path:
        if place and part in _UNION:
            continue
        if isinstance(part, int):
            place, inside = f"entry {part + 1} of {place}" if place else f"entry {part + 1}", True
        else:
            place, inside = f"{place}{': ' if inside else '.'}{part}" if place else part, False
    return place


def finding_of(error: ValidationError) -> str:
    """Word the first fault that pydantic found without its entry: what was found and what was expected."""
    problem = error.errors(include_url=False)[0]
    kind, message = problem["type"], problem["msg"].removeprefix("Value error, ")
    if kind == "json_invalid":
        return f"not JSON ({message.removeprefix('Invalid JSON: ')})"
    if kind == "missing":
        return "missing"
    if kind == "extra_forbidden":
        return "not a known entry"
    message = re.sub(r"Input should be (?=greater|less)", "expected a value ", message)
    message = message.replace("Input should be", "expected")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", message)
    # that a number was expected says it all
    message = re.sub(r", unable to parse string as an? \w+", "", message)
    if kind == "value_error" and not message.startswith("expected"):  # it says itself what was found
        return message
    return f"found {shortened(problem['input'])}, {message[0].lower()}{message[1:]}"


def shortened(value: object) -> str:
    """Represent a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def read_csv(
    path: Path, columns: Columns, remedy: str, *, others: type[float] | None = None, rows: int = 1
) -> pd.DataFrame:
    """Read a CSV table that mergershift wrote; numbers are exact to the last bit.

    Args:
        path: the file.
        columns: columns that the table must have, with their types.
        remedy: what to do about a damaged file.
        others: type of all further columns; if None, their types are inferred.
        rows: smallest number of rows; with 0, a table without columns is accepted, too.

    Raises DamagedFile if the file is no such table: torn, ragged, without one of the columns, or with a value of
    another type.
    """
    import pandas as pd

    text = read_text(path, remedy)
    if text == "\n" and not rows:
        return pd.DataFrame()
    _require_content(path, text, remedy)
    if not text.endswith("\n"):
        raise damaged(path, CUT_OFF, remedy)
    few = len(text) < FEW and others is not None
    table = None if few else _plain_table(text, columns, others, rows)
    return _checked_table(path, text, columns, remedy, others, rows) if table is None else table


def _plain_table(text: str, columns: Columns, others: type[float] | None, rows: int) -> pd.DataFrame | None:
    """Parse a table of plain numbers and words at once; None if anything about it is out of the ordinary."""
    import pandas as pd

    first, *lines = text[:-1].split("\n")
    header = first.split(",")
    if '"' in text or "\r" in text or len(lines) < max(rows, 1) or len(set(header)) < len(header):
        return None
    if not columns.keys() <= set(header) or any(line.count(",") != len(header) - 1 for line in lines):
        return None
    found = {name: columns.get(name, others) for name in header}
    kinds = {name: kind for name, kind in found.items() if kind is not None}
    try:
        table = pd.read_csv(
            io.StringIO(text),
            dtype=kinds,
            na_values={name: [""] for name, kind in kinds.items() if kind is float},
            keep_default_na=False,
            float_precision="round_trip",
        )
    except (ValueError, OverflowError):  # such as a whole number with a point
        return None
    inferred = [name for name in header if name not in kinds]
    return table if all(table[name].dtype == "int64" for name in inferred) else None


def _checked_table(
    path: Path, text: str, columns: Columns, remedy: str, others: type[float] | None, rows: int
) -> pd.DataFrame:
    """Parse any table, field by field; raises DamagedFile as `read_csv` does."""
    import pandas as pd

    try:
        header, *lines = csv.reader(io.StringIO(text), strict=True)
    except (csv.Error, ValueError) as error:
        raise damaged(path, f"not a CSV table ({first_line(error)})", remedy) from error
    missing = [name for name in columns if name not in header]
    if missing:
        more = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise damaged(path, f"no column {missing[0]}{more}, found {shortened(', '.join(header))}", remedy)
    if len(set(header)) < len(header):
        raise damaged(path, "two columns have the same name", remedy)
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            fault = f"line {number} has {len(line)} fields, expected {len(header)}"
            raise damaged(path, fault, remedy)
    if len(lines) < rows:
        raise damaged(path, f"{len(lines)} rows, expected at least {rows}", remedy)
    unknown = [] if others else [name for name in header if name not in columns]
    inferred = pd.read_csv(io.StringIO(text), usecols=unknown) if unknown else pd.DataFrame()
    table = {}
    for index, name in enumerate(header):
        kind = columns.get(name, others)
        values = None if kind is None else _typed(path, name, [line[index] for line in lines], kind, remedy)
        table[name] = inferred[name] if values is None else values
    return pd.DataFrame(table)


def _typed(path: Path, name: str, fields: list[str], kind: type, remedy: str) -> list[Any]:
    if kind is str:
        return fields
    with suppress(ValueError):  # which the loop below words, or an empty field, which it reads as NaN
        numbers = list(map(float, fields))
        if kind is float:
            return numbers
        if kind is int and all(number.is_integer() for number in numbers):
            return list(map(int, numbers))
    values = []
    for number, field in enumerate(fields, start=2):
        try:
            values.append(_integer(field) if kind is int else kind(field or "nan"))
        except (ValueError, OverflowError) as error:
            fault = f"line {number}: {name}: found {shortened(field)}, expected {_EXPECTED[kind]}"
            raise damaged(path, fault, remedy) from error
    return values


def _integer(field: str) -> int:
    """Convert "3" or "3.0" to 3; raises ValueError or OverflowError for anything else."""
    number = float(field)
    if not number.is_integer():
        raise ValueError(field)
    return int(number)


def _require_content(path: Path, text: str, remedy: str) -> None:
    if not text.strip():
        raise damaged(path, "empty", remedy)
