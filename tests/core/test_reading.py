"""Whatever is wrong with a file, its reader says so in two lines that name the file and the remedy."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from mergershift.core import reading
from mergershift.core.reading import Columns, DamagedFile, read_csv, read_json
from mergershift.core.yaml_files import read_yaml

REMEDY = "Do this."
COLUMNS: Columns = {"row": int, "score": float, "name": str}
TABLE = "row,score,name,more\n1,0.1,a,5\n2,,b,6\n"


class Record(BaseModel):
    """A record with a list of whole numbers."""

    numbers: list[int]


def fault(path: Path, read: Any) -> str:
    """The first line of the error, which has to have the remedy as its second."""
    with pytest.raises(DamagedFile) as raised:
        read()
    first, second = str(raised.value).split("\n")
    assert second == REMEDY
    assert first.startswith(f"{path}: ")
    return first.removeprefix(f"{path}: ").removesuffix(".")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("{", "not JSON (EOF"),
        ("[]", "found []"),
        ("null", "found None"),
        ('{"numbers": 5}', "numbers: found 5, expected a valid array"),
        ('{"numbers": [1, "x"]}', "entry 2 of numbers: found 'x', expected a valid integer"),
        ('{"numbers": ["1"]}', "entry 1 of numbers: found '1', expected a valid integer"),
        ("{}", "numbers: missing"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_the_entry_of_a_json_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    assert fault(path, lambda: read_json(path, Record, REMEDY, strict=True)).startswith(expected)


def test_a_number_in_quotes_is_a_number_unless_the_reader_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"numbers": ["1"]}')
    assert read_json(path, Record, REMEDY).numbers == [1]


BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 80))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 80))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "not YAML (while parsing"),
        ("5", "found 5, expected a mapping"),
        ("a: 1\n---\nb: 1\n", "not YAML (expected a single document"),
        ("a: !!python/name:os.system\n", "not YAML (could not determine a constructor"),
        ("a: 2026-13-45\n", "not YAML (month must be in 1..12"),
        ("a: &a [*a]\n", "not YAML (*a is inside of the value that it repeats"),
        ("[" * 500_000, "not YAML (nested more than 40 levels deep"),
        (BOMB, "not YAML (its aliases repeat more than 10000 values"),
        (MERGES, "not YAML (its aliases repeat more than 10000 values"),
        ("a: b\n" * 300_000, "more than 1 MiB"),
    ],
)
def test_yaml_is_refused_in_bounded_time(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    before = time.process_time()
    assert fault(path, lambda: read_yaml(path, dict[str, Any], REMEDY)).startswith(expected)
    assert time.process_time() - before < 2


def test_aliases_of_an_ordinary_size_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("first: &x {a: 1}\nsecond: *x\nthird:\n  <<: *x\n  b: 2\n")
    assert read_yaml(path, dict[str, Any], REMEDY)["third"] == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("row,score\n", "no column name, found 'row,"),
        ("row,score,name\n", "0 rows, expected at least 1"),
        (TABLE[:-1], "its last line has no end"),
        (TABLE.replace(",5", ""), "line 2 has 3 fields, expected 4"),
        (TABLE.replace(",5", ",5,5"), "line 2 has 5 fields, expected 4"),
        (TABLE.replace("0.1", "high"), "line 2: score: found 'high', expected a number"),
        (TABLE.replace("\n2", "\n2.5"), "line 3: row: found '2.5', expected an integer"),
        (TABLE.replace("\n2", "\ninf"), "line 3: row: found 'inf', expected an integer"),
        (TABLE.replace("more", "name"), "two columns have the same name"),
        (TABLE.replace("a", '"a'), "not a CSV table"),
    ],
)
def test_the_line_and_column_of_a_table_are_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    assert fault(path, lambda: read_csv(path, COLUMNS, REMEDY, others=float)).startswith(expected)


def test_a_table_is_read_exactly(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    numbers = [0.1 + 0.2, 1e-320, float("nan"), 1 / 3]
    written = pd.DataFrame(
        {"row": range(4), "score": numbers, "name": ["NA", "", "c", "d"], "kind": list("wxyz")}
    )
    written.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_csv(path, COLUMNS, REMEDY), written, check_exact=True)


def test_a_plain_table_is_read_in_one_go_as_it_is_field_by_field(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.csv"
    numbers = rng.normal(size=200) * 10.0 ** rng.integers(-320, 300, 200)
    numbers[::7] = np.nan
    written = pd.DataFrame(
        {"row": rng.integers(0, 9, 200), "score": numbers, "name": ["a b"] * 200, "more": 1.0, "less": 5}
    )
    written.to_csv(path, index=False)
    plain = reading._plain_table(path.read_text(), COLUMNS, None, 1)
    assert plain is None, "the type of `more` has to be inferred"
    columns = {**COLUMNS, "more": float}
    plain = reading._plain_table(path.read_text(), columns, None, 1)
    assert plain is not None
    pd.testing.assert_frame_equal(plain, written, check_exact=True)
    checked = reading._checked_table(path, path.read_text(), columns, REMEDY, None, 1)
    pd.testing.assert_frame_equal(plain, checked, check_exact=True)


def test_a_table_that_may_have_no_rows_may_have_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame().to_csv(path, index=False)
    assert read_csv(path, COLUMNS, REMEDY, rows=0).empty
    path.write_text("")
    assert fault(path, lambda: read_csv(path, COLUMNS, REMEDY, rows=0)) == "empty"


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def read() -> Record:
        return read_json(path, Record, REMEDY)

    assert fault(path, read) == "no such file"
    path.write_bytes(b'{"a": "\xff"}')
    assert fault(path, read) == "byte 7 is 0xff, expected text in UTF-8"
    path.unlink()
    os.mkfifo(path)
    assert fault(path, read) == "a device or pipe, expected a file"
    path.unlink()
    path.mkdir()
    assert fault(path, read) == "a folder, expected a file"
