"""Tables are read back unchanged from every format and by every reader, and incomplete ones are deleted."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from predicting.table_samples import FORM, predicted
from pyarrow import parquet
from registry.samples import facts_of

from mergershift.predicting.arguments import FORMATS
from mergershift.predicting.columns import SCORES
from mergershift.predicting.rows import Predicted
from mergershift.predicting.spool import ascii_text
from mergershift.predicting.table import Form
from mergershift.predicting.writers import WRITERS, table_writer

TEXTS = ("id", "file", "filters", "flag", "conversion")
STILTS = shutil.which("stilts")


def write(path: Path, parts: list[Predicted], form: Form = FORM) -> Table:
    with table_writer(path, form.table()) as put:
        for part in parts:
            put(form.table([part]))
    return form.table(parts)


def pieces(count: int) -> list[Predicted]:
    third = count // 3
    return (
        [predicted(third), predicted(1, start=third), predicted(count - third - 1, start=third + 1)]
        if count
        else []
    )


def texts_of(table: Table, name: str) -> list[str]:
    column = np.ma.asarray(table[name])
    return [str(text) for text in column.filled(b"" if column.dtype.kind == "S" else "").astype(str)]


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("count", [100, 0])
def test_what_is_written_is_read_back_by_astropy(tmp_path: Path, suffix: str, count: int) -> None:
    path = tmp_path / "new" / f"table{suffix}"
    expected = write(path, pieces(count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Table.read(path)
    assert found.colnames == expected.colnames == list(FORM.formats)
    assert len(found) == count
    for name, form in FORM.formats.items():
        if form.kind == "text":
            wanted = [ascii_text(text) if suffix == ".fits" else text for text in expected[name]]
            assert texts_of(found, name) == wanted
            assert count == 0 or found[name].dtype.kind in "US"
        else:
            values = np.ma.filled(np.ma.asarray(found[name]).astype(float), np.nan)
            np.testing.assert_array_equal(
                values, np.ma.filled(np.ma.asarray(expected[name]).astype(float), np.nan)
            )
        assert found[name].unit == expected[name].unit
    if suffix != ".parquet" or count == 0:  # astropy turns nulls in Parquet into NaN
        assert found["merger"].dtype == np.uint8
    assert list(tmp_path.rglob("*")) == [path.parent, path]


def test_pandas_reads_mergers_as_the_same_nullable_integers(tmp_path: Path) -> None:
    expected = write(tmp_path / "t.parquet", pieces(50))
    frame = pd.read_parquet(tmp_path / "t.parquet")
    assert frame["merger"].dtype == pd.UInt8Dtype()
    assert frame["merger"].isna().tolist() == expected["merger"].mask.tolist()
    pd.testing.assert_frame_equal(frame, expected.to_pandas(), check_dtype=False)
    assert expected.to_pandas()["merger"].dtype == pd.UInt8Dtype()
    back = Table.from_pandas(frame)["merger"]
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back.mask, expected["merger"].mask)


@pytest.mark.parametrize("suffix", [".fits", ".vot"])
@pytest.mark.skipif(STILTS is None, reason="needs stilts, a package of Debian")
def test_stilts_reads_names_units_ucds_and_values(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    expected = write(path, pieces(20))

    def stilts(*arguments: str) -> str:
        return subprocess.run([str(STILTS), *arguments], capture_output=True, text=True, check=True).stdout

    columns = stilts("tpipe", f"in={path}", "cmd=meta name class units ucd", "ofmt=csv").splitlines()[1:]
    kinds = {"text": "String", "number": "Double", "integer": "Long", "class": "Short"}
    for line, (name, form) in zip(columns, FORM.formats.items(), strict=True):
        found, kind, unit, ucd = line.split(",")
        assert (found, kind, ucd) == (name, kinds[form.kind], form.ucd)
        assert bool(unit) == (form.unit is not None)
    rows = stilts("tpipe", f"in={path}", "cmd=keepcols 'index merger'", "ofmt=csv-noheader").split()
    merger = expected["merger"]
    assert rows == [f"{row},{'' if merger.mask[row] else merger[row]}" for row in range(20)]


def test_votables_keep_to_their_standard(tmp_path: Path) -> None:
    write(tmp_path / "t.vot", pieces(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document = votable.parse(tmp_path / "t.vot", verify="exception")
    table = document.get_first_table()
    assert {param.name: param.value for param in table.params}["DATA"] == "mock"
    assert "MOCK" in table.description
    for name, form in FORM.formats.items():
        assert table.get_field_by_id(name).ucd == form.ucd
        assert check_ucd(form.ucd, check_controlled_vocabulary=True)
    if STILTS is not None:
        done = subprocess.run(
            [STILTS, "votlint", str(tmp_path / "t.vot")], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_format_contains_descriptions_and_the_meanings_of_flags(tmp_path: Path) -> None:
    for suffix in WRITERS:
        write(tmp_path / f"t{suffix}", pieces(4))
    described = {name: form.description for name, form in FORM.formats.items()}
    for suffix in (".ecsv", ".parquet", ".vot"):
        found = Table.read(tmp_path / f"t{suffix}").columns
        # astropy breaks the lines of descriptions in VOTables.
        assert {name: " ".join(column.description.split()) for name, column in found.items()} == described
    fields = {field.name: field.metadata for field in parquet.read_schema(tmp_path / "t.parquet")}
    assert {name: metadata[b"description"].decode() for name, metadata in fields.items()} == described
    assert fields["ra"][b"unit"] == b"deg"
    assert fields["ra"][b"ucd"] == b"pos.eq.ra;meta.main"
    header = fits.getheader(tmp_path / "t.fits", 1)
    assert [header[f"TCOMM{number}"] for number in range(1, len(described) + 1)] == list(described.values())
    with fits.open(tmp_path / "t.fits") as hdus:
        hdus.verify("exception")
    metas = [Table.read(tmp_path / f"t{suffix}").meta for suffix in (".ecsv", ".fits", ".parquet")]
    for meta in metas:
        assert (meta["DATA"], meta["VERSION"], meta["THRESHLD"]) == ("mock", "mergershift/3", 0.4)
        assert "no data: no pixel of the field has a value" in "".join(meta["comments"])
    assert "no data: no pixel" in " ".join(Table.read(tmp_path / "t.vot").meta["description"].split())


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_incomplete_table_is_deleted_and_the_old_one_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    write(path, pieces(10))
    before = path.read_bytes()

    def stopped() -> None:
        with table_writer(path, FORM.table()) as put:
            put(FORM.table(pieces(20)[:1]))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", WRITERS)
def test_models_and_files_can_have_any_name(tmp_path: Path, suffix: str) -> None:
    form = Form(facts_of(), "modèles/" * 12, "", dict.fromkeys(SCORES, "a score"))
    part = predicted(4, refused=False)
    names = ["latin\udce9.npy", "two\nlines", "bell\x07", "<&>\"']]>"]
    for row, name in zip(part.rows, names, strict=True):
        row.identity = type(row.identity)(name, name)
    write(path := tmp_path / f"table{suffix}", [part], form)
    found = Table.read(path)
    assert texts_of(found, "file") == [r"latin\udce9.npy", r"two\nlines", r"bell\x07", "<&>\"']]>"]
    if suffix not in (".vot", ".xml"):
        name = "modèles/" * 12
        assert found.meta["MODEL"] == (ascii_text(name) if suffix == ".fits" else name)


def test_rows_are_written_in_pieces_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergershift.predicting.spool.PIECE", 30)
    parts = [predicted(10, start=10 * number) for number in range(7)]
    for suffix in WRITERS:
        expected = write(tmp_path / f"t{suffix}", parts)
        np.testing.assert_array_equal(Table.read(tmp_path / f"t{suffix}")["index"], expected["index"])
    found = parquet.ParquetFile(tmp_path / "t.parquet").metadata
    assert [found.row_group(number).num_rows for number in range(found.num_row_groups)] == [30, 30, 10]


def test_every_offered_format_has_a_writer() -> None:
    assert tuple(WRITERS) == FORMATS
