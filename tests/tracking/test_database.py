"""A database that MLflow cannot use, or not without damage, is left as it is, and named with its own remedy."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow
import optuna
import pytest
from mlflow import MlflowClient
from sqlalchemy.exc import OperationalError

from mergershift.core.errors import UserError
from mergershift.tracking.database import check_database, read_contents, revisions, without_password
from mergershift.tracking.diagnosis import answering, diagnose
from mergershift.tracking.server import connect

OLDER = "0584bdc529eb"
"""A revision of MLflow 2 (`mlflow/store/db_migrations/versions`)."""


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def studies(path: Path) -> None:
    optuna.create_study(storage=f"sqlite:///{path}", study_name="s")


def other_tables(path: Path) -> None:
    execute(path, "CREATE TABLE galaxies (id INTEGER)", "CREATE TABLE stars (id INTEGER)")


def no_database(path: Path) -> None:
    path.write_text("galaxy,label\n" * 100)


def damaged(path: Path) -> None:
    execute(path, "CREATE TABLE runs (id TEXT)")
    content = bytearray(path.read_bytes())
    content[100:200] = b"\xff" * 100
    path.write_bytes(content)


def failure(address: str) -> tuple[str, str]:
    with pytest.raises(UserError) as caught, answering(address):
        connect(address).get_experiment_by_name("e")
    what, remedy = str(caught.value).splitlines()
    return what, remedy


@pytest.mark.parametrize(
    ("write", "found", "advised"),
    [
        (studies, "holds the studies of Optuna", "to another database"),
        (other_tables, "holds tables of another program (galaxies, stars, ...)", "to another database"),
        (no_database, "is no database", "Move that file away"),
        (damaged, "is damaged", "from a backup"),
    ],
)
def test_a_file_that_is_not_mlflows_is_left_as_it_is(
    write: Callable[[Path], None], found: str, advised: str, tmp_path: Path
) -> None:
    path = tmp_path / "runs.db"
    write(path)
    before = path.read_bytes()
    what, remedy = failure(f"sqlite:///{path}")
    assert found in what
    assert str(path) in what
    assert advised in remedy
    assert path.read_bytes() == before


@pytest.fixture
def used(database: str, project: Path) -> tuple[str, Path]:
    """The address and path of a database of MLflow that holds a run."""
    client = MlflowClient(tracking_uri=database)
    client.create_run(client.create_experiment("e"))
    return database, project / "mlflow.db"


@pytest.mark.parametrize(
    ("revision", "found", "advised"),
    [
        (OLDER, f"an older MLflow than the installed .*schema is {OLDER}", "run `mlflow db upgrade {}`"),
        (
            "ffffffffffff",
            "a newer MLflow than the installed .*schema is ffffffffffff",
            "pip install --upgrade mlflow",
        ),
    ],
)
def test_a_database_of_another_version_is_not_upgraded_without_asking(
    revision: str, found: str, advised: str, used: tuple[str, Path], tmp_path: Path
) -> None:
    """An older version lacks some of the tables, and MLflow's client would add them."""
    address, path = used
    execute(path, f"UPDATE alembic_version SET version_num = '{revision}'", "DROP TABLE logged_model_tags")
    before = path.read_bytes()
    with pytest.raises(UserError, match=found) as caught, answering(address):
        connect(address)
    assert advised.format(address) in str(caught.value)
    assert path.read_bytes() == before


def test_the_tables_that_a_killed_process_left_are_completed(database: str, project: Path) -> None:
    execute(project / "mlflow.db", f"UPDATE alembic_version SET version_num = '{OLDER}'")
    check_database(database)


def test_databases_that_mlflow_can_use_are_not_touched(
    used: tuple[str, Path], empty_database: Path, tmp_path: Path
) -> None:
    execute(used[1], "CREATE TABLE notes (id INTEGER)")
    check_database(used[0])
    assert read_contents(used[0]).owner == "mlflow"
    check_database(f"sqlite:///{empty_database}")
    check_database(f"sqlite:///{tmp_path}/new.db")
    check_database("sqlite:///:memory:")
    assert not (tmp_path / "new.db").exists()
    assert OLDER in revisions()[1:]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    shutil.copy(__file__, folder / "runs.db")
    folder.chmod(0)
    try:
        what, _ = failure(f"sqlite:///{folder}/runs.db")
    finally:
        folder.chmod(0o700)
    assert str(folder) in what


REFUSED = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "found", "advised"),
    [
        (
            REFUSED + 'FATAL:  password authentication failed for user "bob"',
            "user or password",
            "Correct them",
        ),
        ("connection failed: fe_sendauth: no password supplied", "user or password", "~/.pgpass"),
        (REFUSED + 'FATAL:  role "bob" does not exist', "user or password", "Correct them"),
        (REFUSED + 'FATAL:  database "runs" does not exist', "does not exist", "createdb"),
        (REFUSED + "FATAL:  no pg_hba.conf entry for host", "does not admit", "pg_hba.conf"),
        (
            REFUSED + "Connection refused\n\tIs the server running on that host",
            "refused",
            "Start the database",
        ),
        ("[Errno -2] Name or service not known", "cannot be resolved", "Correct the host"),
        ("failed to resolve host 'db': [Errno -2] Name or service not known", "cannot be resolved", "host"),
        ("connection timeout expired", "no answer in time", "firewall"),
        (REFUSED + "FATAL:  sorry, too many clients already", "no free connection", "Wait"),
        ("(1045, \"Access denied for user 'bob'@'localhost'\")", "user or password", "Correct them"),
        ("database is locked", "locked by another process", "Wait"),
        ("attempt to write a readonly database", "read-only", "permissions"),
        ("something else", "fails: ", "log"),
    ],
)
def test_what_a_database_server_says_is_distinguished(text: str, found: str, advised: str) -> None:
    """The texts are those of PostgreSQL 15 with psycopg 3, of MySQL and of SQLite."""
    address = "postgresql+psycopg://bob:secret@db:5432/runs?password=secret"
    error = OperationalError("SELECT 1", {}, Exception(text))
    diagnosis = diagnose(error, address)
    assert found in diagnosis.what
    assert advised in diagnosis.remedy
    assert "secret" not in f"{diagnosis}"


def test_a_missing_driver_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in ("psycopg2", "pymysql"):
        monkeypatch.setitem(sys.modules, driver, None)
    what, remedy = failure("postgresql+psycopg2://bob:secret@db/runs")
    assert "the driver of the database postgresql+psycopg2://bob@db/runs is not installed" in what
    assert 'pip install "mergershift[postgresql]"' in remedy
    assert "pip install pymysql" in failure("mysql+pymysql://bob:secret@db/runs")[1]


@pytest.mark.parametrize(
    "address",
    [
        "sqlite://folder/runs.db",
        "postgresql+nothing://bob:secret@db/runs",
        "postgresql+psycopg://bob:secret@db:port/runs",
    ],
)
def test_what_is_no_address_of_a_database_is_named(address: str) -> None:
    what, remedy = failure(address)
    assert "is not the address of a database" in what
    assert "sqlite:///FILE" in remedy
    assert "secret" not in what


def test_an_address_keeps_all_but_the_password() -> None:
    assert without_password("postgresql+psycopg://bob:s%40cret@db:1/runs?sslmode=require") == (
        "postgresql+psycopg://bob@db:1/runs?sslmode=require"
    )
    assert without_password("sqlite:////home/x/mlflow.db") == "sqlite:////home/x/mlflow.db"


def test_an_environment_that_mlflow_cannot_migrate_databases_from_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "__file__", "/100% ok/site-packages/mlflow/__init__.py")
    what, remedy = failure(f"sqlite:///{project}/mlflow.db")
    assert "path contains %" in what
    assert "VENV=" in remedy
    assert not (project / "mlflow.db").exists()
