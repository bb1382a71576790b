"""The schemas of a server's two databases: whose tables they are, whether they are current, and their upgrade."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow.store.db import utils as runs_schema
from sqlalchemy.pool import NullPool

from mergershift.core.database_files import sqlite_path
from mergershift.core.errors import UserError
from mergershift.tracking.database import (
    CONNECT_TIMEOUT,
    Contents,
    check_database,
    parsed,
    read_contents,
    revisions,
    without_password,
)
from mergershift.tracking.diagnosis import FAILURES, diagnose
from mergershift.tracking.failures import ADDRESS, Unusable
from mergershift.tracking.server_settings import ACCOUNTS, DATABASE, ServerSettings

UPGRADE = "mergershift server --upgrade"
_VERSION_TABLE = "alembic_version_auth"


def check_databases(settings: ServerSettings) -> None:
    """Raise UserError if one of the two databases does not answer, is another program's, or has another schema."""
    with _reported(settings.database, DATABASE):
        try:
            check_database(settings.database)
        except Unusable as error:
            outdated = read_contents(settings.database).revision in revisions()[1:]
            raise Unusable(
                error.diagnosis.what, _how_to_upgrade() if outdated else error.diagnosis.remedy
            ) from error
    with _reported(settings.accounts, ACCOUNTS):
        contents, revision = _accounts(settings.accounts)
        shown = without_password(settings.accounts)
        known = _account_revisions()
        if contents.tables and not contents.tables >= {"users", _VERSION_TABLE}:
            raise Unusable(
                f"the database {shown} holds tables of another program ({', '.join(sorted(contents.tables)[:3])})",
                f"Set {ACCOUNTS} to another database, which the accounts have to themselves",
            )
        if revision is not None and revision not in known:
            raise Unusable(
                f"the accounts in {shown} were written by a newer MLflow than the installed one",
                "Update MLflow (pip install --upgrade mlflow)",
            )
        if revision is not None and revision != known[0]:
            raise Unusable(
                f"the accounts in {shown} were written by an older MLflow than the installed one",
                _how_to_upgrade(),
            )


def upgrade_databases(settings: ServerSettings, backups: Path | None) -> list[str]:
    """Bring the schemas of both databases up to date; returns what was done, a line for each.

    Args:
        settings: names the databases.
        backups: folder for a copy of each database that is changed; None: none is made.

    Raises UserError if a database cannot be used or copied.
    """
    lines = []
    for address, variable in ((settings.database, DATABASE), (settings.accounts, ACCOUNTS)):
        with _reported(address, variable):
            contents = read_contents(address)
            accounts = variable == ACCOUNTS
            revision = _accounts(address)[1] if accounts else contents.revision
            newest, *former = _account_revisions() if accounts else revisions()
            shown = without_password(address)
            if revision not in former:
                lines.append(f"{shown}: {'up to date' if revision == newest else 'nothing to upgrade'}.")
                continue
            copied = "" if backups is None else f"; its copy from before: {_back_up(address, backups)}"
            engine = sqlalchemy.create_engine(parsed(address), poolclass=NullPool)
            if accounts:
                from mlflow.server.auth.db.utils import migrate

                migrate(engine, "head")
            else:
                runs_schema._upgrade_db(engine)
            lines.append(f"{shown}: upgraded from {revision} to {newest}{copied}.")
    return lines


def _how_to_upgrade() -> str:
    return f"Stop servers that use it, and run `{UPGRADE}` with the same settings: it makes a backup first"


@contextmanager
def _reported(address: str, variable: str) -> Iterator[None]:
    """Turn failures of a database into a UserError that names the server's own setting."""
    try:
        yield
    except FAILURES as error:
        found = diagnose(error, address)
        remedy = found.remedy.replace(ADDRESS, variable).replace(
            "mergershift[postgresql]", "mergershift[server]"
        )
        raise UserError(f"{found.what}.\n{remedy}.") from error


def _accounts(address: str) -> tuple[Contents, str | None]:
    """Read which tables the accounts' database has, and the revision of their schema."""
    contents = read_contents(address)
    if _VERSION_TABLE not in contents.tables:
        return contents, None
    engine = sqlalchemy.create_engine(parsed(address), poolclass=NullPool)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})
        return contents, context.get_current_revision()


def _account_revisions() -> tuple[str, ...]:
    """Return the revisions of the accounts' schema that the installed MLflow knows, the newest first."""
    import mlflow

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "server" / "auth" / "db" / "migrations"))
    return tuple(script.revision for script in scripts.walk_revisions())


def _back_up(address: str, folder: Path) -> Path:
    """Copy a database into `folder`; returns the copy, which only this user can read from its beginning."""
    folder.mkdir(parents=True, exist_ok=True)
    path, stamp = sqlite_path(address), time.strftime("%Y%m%d-%H%M%S")
    url, program = parsed(address), shutil.which("pg_dump")
    if path is None and (not address.startswith("postgresql") or program is None):
        raise UserError(
            f"{without_password(address)}: no backup, because pg_dump is not installed here.\n"
            f"Make one where it is, and run `{UPGRADE} --no-backup` afterwards."
        )
    copy = folder / (f"{path.name}.{stamp}" if path else f"{url.database}.{stamp}.dump")
    os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        if path is not None:
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        else:
            _dump(str(program), url, copy)
    except BaseException:
        copy.unlink()
        raise
    return copy


def _dump(program: str, url: sqlalchemy.URL, copy: Path) -> None:
    """Let pg_dump write a database to a file, by the same connection, with what the address says of TLS or a socket."""
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    further = query.pop("password", None)
    password = url.password or further
    own = {"dbname": url.database, "host": url.host, "port": url.port, "user": url.username}
    values = (
        {"connect_timeout": CONNECT_TIMEOUT} | {name: value for name, value in own.items() if value} | query
    )
    quoted = {name: str(value).replace("\\", r"\\").replace("'", r"\'") for name, value in values.items()}
    connection = " ".join(f"{name}='{value}'" for name, value in quoted.items())
    command = [program, "--format=custom", f"--file={copy}", f"--dbname={connection}"]
    given = {"PGPASSWORD": str(password)} if password else {}
    done = subprocess.run(command, env=os.environ | given, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UserError(
            f"{without_password(str(url))}: pg_dump fails ({reason[0]}), so nothing is upgraded.\n"
            f"Make a backup by other means, and run `{UPGRADE} --no-backup` afterwards."
        )
