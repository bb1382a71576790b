"""Addresses of SQLite files in folders of any name."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy

from mergershift.core.database_files import sqlite_address, sqlite_path

NAMES = ("plain", "a space", "ünï cödé", "#1", "100% ok", "%41", "ok?", "a&b=c;d", "{x}", "a@b:c")


@pytest.mark.parametrize("name", NAMES)
def test_an_address_leads_to_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "x.db"
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE here (n)")
    assert sqlite_path(sqlite_address(path)) == path
    assert sqlalchemy.inspect(sqlalchemy.create_engine(sqlite_address(path))).get_table_names() == ["here"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_relative_files_and_other_databases(tmp_path: Path) -> None:
    assert sqlite_path(sqlite_address(Path("mlflow.db"))) == Path("mlflow.db")
    assert sqlite_path("http://team:5000") is None
    assert sqlite_path("postgresql+psycopg://user@host/db") is None
