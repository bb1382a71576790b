"""Tables are read back unchanged from every format, and incomplete ones are deleted."""

from __future__ import annotations

import functools
import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from pyarrow import parquet
from registry.samples import facts_of

from mergershift.predicting.table import DESCRIPTIONS, Form, Rows
from mergershift.predicting.writers import WRITERS, table_writer
from mergershift.registry import COLUMNS

FORM = Form(facts_of(), "models:/mergershift@champion", "mergershift/3")
WIDTHS = {"file": 96, "flag": 18}
NAMES = ['a "b" c.npy', "", "Hubble µ.fits", "x" * 90]


def pieces(count: int) -> list[list[Rows]]:
    random = np.random.default_rng(count)
    scores = random.random((count, 3))
    scores[::7] = np.nan
    files = [NAMES[row % 4] for row in range(count)]
    index = np.arange(count, dtype=np.int64)
    notes = ["", "as is"] * (count // 2)
    edges = [0, count // 3, count // 3 + 1, count]
    return [
        [Rows(files[start:stop], index[start:stop], scores[start:stop], notes[start:stop])]
        for start, stop in itertools.pairwise(edges)
    ]


def write(path: Path, parts: list[list[Rows]]) -> Table:
    with table_writer(path, FORM.table(), WIDTHS.__getitem__) as put:
        for part in parts:
            put(FORM.table(part))
    return FORM.table([rows for part in parts for rows in part])


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("count", [100, 0])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str, count: int) -> None:
    path = tmp_path / "new" / f"table{suffix}"
    expected = write(path, pieces(count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Table.read(path)
    assert found.colnames == list(DESCRIPTIONS)
    assert len(found) == count
    for name in ("file", "flag"):
        texts = found[name].filled("") if hasattr(found[name], "filled") else found[name]
        wanted = [text.replace("µ", r"\xb5") if suffix == ".fits" else text for text in expected[name]]
        assert list(map(str, texts)) == wanted
    for name in ("index", *COLUMNS):
        values = np.ma.filled(np.ma.asarray(found[name]).astype(float), np.nan)
        np.testing.assert_array_equal(values, np.asarray(expected[name]))
    empty = np.ma.getmaskarray(np.ma.masked_invalid(np.ma.asarray(found["merger"]).astype(float)))
    np.testing.assert_array_equal(empty, np.isnan(expected["probability"]))
    called = np.asarray(found["merger"])[~empty]
    np.testing.assert_array_equal(called, np.asarray(expected["probability"] >= 0.4)[~empty])
    assert found.meta["VERSION"] == "mergershift/3"
    assert found.meta["THRESHLD"] == 0.4
    assert "z = 2" in " ".join(found.meta["comments"])
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_every_format_contains_the_descriptions(tmp_path: Path) -> None:
    for suffix in WRITERS:
        write(tmp_path / f"t{suffix}", pieces(4))
    assert {name: column.description for name, column in Table.read(tmp_path / "t.ecsv").columns.items()} == (
        DESCRIPTIONS
    )
    schema = parquet.read_schema(tmp_path / "t.parquet")
    assert {field.name: field.metadata[b"description"].decode() for field in schema} == DESCRIPTIONS
    assert schema.metadata[b"model"] == b"models:/mergershift@champion"
    header = fits.getheader(tmp_path / "t.fits", 1)
    assert [header[f"TCOMM{number}"] for number in range(1, 8)] == list(DESCRIPTIONS.values())
    with fits.open(tmp_path / "t.fits") as hdus:
        hdus.verify("exception")


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_incomplete_table_is_deleted_and_the_old_one_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    write(path, pieces(10))
    before = path.read_bytes()

    def stopped() -> None:
        with table_writer(path, FORM.table(), WIDTHS.__getitem__) as put:
            put(FORM.table(pieces(20)[0]))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", WRITERS)
def test_models_can_have_any_name(tmp_path: Path, suffix: str) -> None:
    form = Form(facts_of(), "modèles/" * 12, "")
    with table_writer(path := tmp_path / f"table{suffix}", form.table(), WIDTHS.__getitem__) as put:
        put(form.table(pieces(4)[0]))
    name = "modèles/" * 12
    assert Table.read(path).meta["MODEL"] == (name.replace("è", r"\xe8") if suffix == ".fits" else name)


def test_widths_are_computed_only_for_formats_that_need_them(tmp_path: Path) -> None:
    """Computing a width is slow for a million names."""
    requested: dict[str, list[str]] = {suffix: [] for suffix in WRITERS}

    def record(suffix: str, name: str) -> int:
        requested[suffix].append(name)
        return 9

    for suffix in WRITERS:
        with table_writer(tmp_path / f"t{suffix}", FORM.table(), functools.partial(record, suffix)):
            pass
    assert requested == {".ecsv": [], ".fits": ["file", "flag"], ".parquet": ["file", "flag"]}
