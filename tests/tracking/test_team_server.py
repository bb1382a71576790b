"""`mergershift server`: settings, databases, login, and its end."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests
import sqlalchemy
from alembic import command as alembic
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase
from postgresql import postgresql_server
from tracking.team import TeamServer, experiment_of, secret

from mergershift.cli.main import main
from mergershift.core.errors import UserError
from mergershift.tracking.account_database import _back_up
from mergershift.tracking.database import revisions
from mergershift.tracking.server_settings import (
    ACCOUNTS,
    ARTIFACTS,
    DATABASE,
    PASSWORD,
    SECRET_KEY,
    read_settings,
    write_settings,
)

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `mergershift server` with settings of its own; returns what it printed, or the message of its error."""
    for name in (DATABASE, ACCOUNTS, ARTIFACTS, SECRET_KEY, PASSWORD):
        monkeypatch.delenv(name, raising=False)
    settings = write_settings(tmp_path / "server")

    def run(*options: str, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(["server", "--settings", str(settings), *options])
        output = capsys.readouterr()
        return output.err if ended.value.code else output.out

    return run


def test_the_settings_that_are_written_have_random_secrets_and_one_reader(tmp_path: Path) -> None:
    one, other = (write_settings(tmp_path / name) for name in ("one", "other"))
    assert stat.S_IMODE(one.stat().st_mode) == 0o600
    first, second = read_settings(one), read_settings(other)
    assert first.password != second.password
    assert first.secret_key != second.secret_key
    assert first.accounts == f"sqlite:///{tmp_path}/one/accounts.db"
    text = one.read_text()
    with pytest.raises(UserError, match="exists, and its passwords are those of the server"):
        write_settings(tmp_path / "one")
    assert one.read_text() == text
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\)"):
        write_settings(one / "below a file")


@pytest.mark.parametrize(
    ("options", "variables", "found"),
    [
        ((), {PASSWORD: ""}, f"{PASSWORD} is not set, the administrator's password; it has no default"),
        ((), {SECRET_KEY: ""}, f"{SECRET_KEY} is not set"),
        ((), {PASSWORD: "password1234"}, "is too easy to guess"),
        ((), {PASSWORD: "short"}, "at least 12 characters"),
        ((), {SECRET_KEY: "short"}, "at least 16 characters"),
        (
            ("--database", "postgresql+psycopg://bob:secret@db/runs"),
            {},
            "--database: other users can read the password",
        ),
        (("--accounts", "postgresql+psycopg://db/a?password=secret"), {}, "--accounts: other users can read"),
        (("--database", "./mlruns"), {}, "is not the address of a database"),
        (
            ("--database", "sqlite:////a.db", "--accounts", "sqlite:////a.db"),
            {},
            "need a database of their own",
        ),
        (("--artifacts", "ftp://host/path"), {}, "ftp://host/path is not supported"),
        (
            (),
            {DATABASE: "postgresql+psycopg://bob:secret@127.0.0.1:9/runs"},
            "does not answer: connection refused",
        ),
        (
            (),
            {ACCOUNTS: "postgresql+psycopg://bob:secret@127.0.0.1:9/runs"},
            "does not answer: connection refused",
        ),
    ],
)
def test_what_keeps_the_server_from_starting_is_said_in_two_lines_without_a_password(
    run: Run, options: tuple[str, ...], variables: dict[str, str], found: str
) -> None:
    err = run(*options, **variables)
    assert found in err
    assert err.count("\n") == 2
    assert ":secret" not in err
    assert "=secret" not in err
    assert "MLFLOW_TRACKING_URI" not in err, "that is a setting of clients"


def test_settings_that_others_can_read_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "server/server.env").chmod(0o640)
    assert "can be read by other users (mode 640)" in run()
    (tmp_path / "server/server.env").chmod(0o600)
    (tmp_path / "server/server.env").write_text("what is this\n")
    assert "line 1: expected NAME=VALUE" in run()


def test_a_missing_package_is_named_with_what_installs_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mergershift.tracking.server_settings.find_spec", lambda name: None)
    err = run()
    assert "the package flask_wtf" in err
    assert 'pip install "mergershift[server]"' in err


def test_a_busy_port_and_another_programs_databases_are_refused(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert "in use, perhaps by another `mergershift server`" in run("--port", port)
    for name, found in (
        ("mlflow.db", "MLflow needs one of its own"),
        ("accounts.db", "tables of another program"),
    ):
        with closing(sqlite3.connect(tmp_path / "server" / name)) as database:
            database.execute("CREATE TABLE trees (height REAL)")
        err = run()
        assert found in err
        assert err.count("\n") == 2
        (tmp_path / "server" / name).unlink()


def older_databases(folder: Path) -> None:
    """Create both databases as earlier versions of MLflow left them, with a run and a user."""
    address = f"sqlite:///{folder}/mlflow.db"
    config = _get_alembic_config(address)
    engine = sqlalchemy.create_engine(address)
    InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.upgrade(config, revisions()[1])
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, workspace) VALUES (7, 'kept', 'default')"
        )
        database.execute("INSERT INTO runs (run_uuid, experiment_id) VALUES ('r', 7)")
        database.commit()
    with closing(sqlite3.connect(folder / "accounts.db")) as database:
        database.execute(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT UNIQUE, password_hash TEXT, is_admin BOOL)"
        )
        database.execute("INSERT INTO users VALUES (1, 'ana', 'hash', 0)")
        for kind, key in (("experiment", "experiment_id"), ("registered_model", "name")):
            columns = f"id INTEGER PRIMARY KEY, {key} TEXT, user_id INTEGER, permission TEXT"
            database.execute(f"CREATE TABLE {kind}_permissions ({columns})")
        database.execute("CREATE TABLE alembic_version_auth (version_num TEXT)")
        database.execute("INSERT INTO alembic_version_auth VALUES ('8606fa83a998')")
        database.commit()


DUMP = """#!/bin/sh
for word; do case $word in --file=*) file=${word#--file=} ;; esac; done
{ stat -c %a "$file"; printf '%s\\n' "$PGPASSWORD" "$3"; } > "$(dirname "$0")/seen"
"""


def test_a_dump_is_private_from_its_beginning_and_taken_by_the_address_with_all_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pg_dump").write_text(DUMP)
    (tmp_path / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    address = "postgresql+psycopg://me:hid%27den@db.example.org:6432/ml%27flow?sslmode=verify-full"
    before = os.umask(0)
    try:
        _back_up(address, tmp_path / "backups")
    finally:
        os.umask(before)
    mode, password, connection = (tmp_path / "seen").read_text().splitlines()
    assert (mode, password) == ("600", "hid'den")
    parts = {
        "dbname='ml\\'flow'",
        "host='db.example.org'",
        "port='6432'",
        "user='me'",
        "sslmode='verify-full'",
    }
    assert parts < set(connection.removeprefix("--dbname=").split())


@pytest.mark.system
def test_an_older_schema_is_upgraded_on_request_after_a_backup(run: Run, tmp_path: Path) -> None:
    folder, backups = tmp_path / "server", tmp_path / "backups"
    older_databases(folder)
    before = (folder / "mlflow.db").read_bytes()
    err = run()
    assert "was written by an older MLflow" in err
    assert "mergershift server --upgrade" in err
    assert (folder / "mlflow.db").read_bytes() == before
    lines = run("--upgrade", "--backups", str(backups)).splitlines()
    assert [line.partition(": ")[2].split(" from")[0] for line in lines] == ["upgraded", "upgraded"]
    copies = sorted(path.name.partition(".db")[0] for path in backups.iterdir())
    assert copies == ["accounts", "mlflow"]
    for name, query in (
        ("mlflow", "SELECT name FROM experiments WHERE experiment_id = 7"),
        ("accounts", "SELECT username FROM users"),
    ):
        (copy,) = backups.glob(f"{name}.*")
        for path in (folder / f"{name}.db", copy):
            with closing(sqlite3.connect(path)) as database:
                assert database.execute(query).fetchone() in (("kept",), ("ana",))
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert all("up to date" in line for line in run("--upgrade", "--backups", str(backups)).splitlines())
    assert len(list(backups.iterdir())) == 2


def test_the_unit_file_runs_this_interpreter_and_holds_no_secret(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = run("--systemd", "--host", "0.0.0.0", "--workers", "3", "--allowed-hosts", "a.org,b.org")
    file = tmp_path / "server/server.env"
    assert f"EnvironmentFile={file}" in unit
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert command.startswith(f"ExecStart={sys.executable} -m mergershift server --host 0.0.0.0 --port 5000")
    assert command.endswith("--allowed-hosts a.org,b.org --workers 3")
    assert not any(
        line.partition("=")[2] in unit for line in file.read_text().splitlines() if PASSWORD in line
    )
    assert f"ReadWritePaths={tmp_path}/server {tmp_path}/server/artifacts" in unit
    monkeypatch.chdir(tmp_path)
    elsewhere = run("--systemd", "--artifacts", "files")
    assert f"ReadWritePaths={tmp_path}/files {tmp_path}/server" in elsewhere
    assert f"--artifacts {tmp_path}/files\n" in elsewhere
    program = shutil.which("systemd-analyze")
    if program is not None:
        (tmp_path / "mergershift.service").write_text(unit)
        done = subprocess.run(
            [program, "verify", tmp_path / "mergershift.service"], capture_output=True, text=True
        )
        assert "mergershift.service" not in done.stderr, done.stderr


@pytest.fixture
def database(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings that name two databases of a PostgreSQL server; without one, the files of the settings are used."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql_server(tmp_path))
        except pytest.skip.Exception:
            yield {}
        else:
            yield {DATABASE: server.create("runs"), ACCOUNTS: server.create("accounts")}


@pytest.mark.system
def test_a_server_keeps_all_across_a_restart_and_ends_with_all_its_processes(
    database: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TeamServer(tmp_path, "--allowed-hosts", "mlflow.example.org", **database)
    try:
        server.start()
        server.welcome()
        processes = server.processes()
        assert len(processes) >= (4 if database else 3)
        for process in processes:
            words = " ".join(process.cmdline())
            assert server.password not in words
            variables = process.environ()
            if "uvicorn" in words:
                assert variables["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
                assert variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert requests.get(f"{server.address}/health", timeout=10).status_code == 200
        for host, status in (("mlflow.example.org", 200), ("evil.example.org", 403)):
            assert server.ask("rea", "GET", "/", headers={"Host": host}).status_code == status
        server.sign_in(monkeypatch, "ana")
        client = MlflowClient(server.address)
        run = client.create_run(experiment_of(client)).info.run_id
        client.log_text(run, "kept", "text.txt")
        assert server.stop() < 15
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log
        assert "GET /" not in log
        assert secret("ana") not in log
        server.start()
        assert server.ask("ana", "GET", "/version").status_code == 200
        assert (
            server.ask("rea", "POST", "/api/2.0/mlflow/runs/delete", json={"run_id": run}).status_code == 403
        )
        place = f"/get-artifact?run_uuid={run}&path=text.txt"
        assert server.ask("rea", "GET", place).text == "kept"
    finally:
        server.stop()
