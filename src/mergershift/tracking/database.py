"""Which program's tables a database holds, and whether this version of MLflow can use them; only reads."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Literal

import mlflow
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from mergershift.core.errors import first_line
from mergershift.core.redaction import public
from mergershift.tracking.failures import ADDRESS, Diagnosis, Unusable

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
CONNECT_TIMEOUT = 5
"""Seconds to wait for a database server; MLflow's own ten attempts would take minutes."""
_MLFLOW = {"experiments", "runs"}
_OPTUNA = {"studies", "trials", "version_info"}
# Arguments of the drivers that can limit the wait: psycopg, psycopg2, PyMySQL and mysqlclient.
_TIMEOUT = {"postgresql": {"connect_timeout": CONNECT_TIMEOUT}, "mysql": {"connect_timeout": CONNECT_TIMEOUT}}
# The messages of SQLite, PostgreSQL (with psycopg and psycopg2), MySQL and the resolver, with what they mean and what
# to do. Drivers give no code for a connection that was refused.
_MEANINGS = {
    r"file is not a database": ("is no database", "Move that file away, or set {address} to another one"),
    r"disk image is malformed": ("is damaged", "Restore it from a backup, or move it away and publish again"),
    r"unable to open database file": (
        "cannot be opened",
        "Create its folder, or change the file's permissions",
    ),
    r"readonly database": ("is read-only", "Change the permissions of the file and its folder"),
    r"database is locked": ("is locked by another process", "Wait for that process, or stop it"),
    r"disk is full|no space left": ("has no room left on its disk", "Make room on that disk"),
    r"password authentication failed|no password supplied|access denied for user|role \S+ does not exist": (
        "does not accept the user or password",
        "Correct them in {address}; PostgreSQL reads a password from ~/.pgpass, too",
    ),
    r"no pg_hba.conf entry": ("does not admit this machine or user", "Add an entry to its pg_hba.conf"),
    r"database \S+ does not exist|unknown database": (
        "does not exist",
        "Create it (PostgreSQL: createdb), or correct its name in {address}",
    ),
    r"permission denied|command denied": ("denies permission", "Ask its administrator for permission"),
    r"connection refused|can't connect": (
        "does not answer: connection refused",
        "Start the database server, or correct its host and port in {address}",
    ),
    r"could not translate host name|resolve host|name or service not known|nodename nor servname": (
        "does not answer: its host's name cannot be resolved",
        "Correct the host in {address}",
    ),
    r"time(d )?out|timeout expired": (
        "does not answer: no answer in time",
        "Start the database server, open the firewall, or correct its host and port in {address}",
    ),
    r"too many (clients|connections)|connection slots": ("has no free connection", "Wait until it has one"),
}

Owner = Literal["mlflow", "optuna", "another program"]


@dataclass(frozen=True)
class Contents:
    """What a database holds: its tables, the revision of their schema, and whether any run is recorded."""

    tables: frozenset[str] = frozenset()
    revision: str | None = None
    """Revision that Alembic recorded; MLflow and Optuna both use its only table for that, `alembic_version`."""
    has_runs: bool = False

    @property
    def owner(self) -> Owner | None:
        """The program whose tables these are; None if there are none."""
        if self.revision in revisions() or (self.tables >= _MLFLOW and not self.tables >= _OPTUNA):
            return "mlflow"
        if self.tables >= _OPTUNA:
            return "optuna"
        return "another program" if self.tables else None


def is_database(address: str) -> bool:
    """Return whether the address names a database rather than a server or a folder."""
    return address.partition(":")[0].partition("+")[0] in DATABASES


@cache
def revisions() -> tuple[str, ...]:
    """Return the schema revisions that the installed MLflow knows, the newest first."""
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return tuple(script.revision for script in scripts.walk_revisions())


def parsed(address: str) -> sqlalchemy.URL:
    """Parse the address of a database; raises ArgumentError if it is none."""
    try:
        return sqlalchemy.make_url(address)
    except ValueError as error:  # a port that is no number
        raise ArgumentError(first_line(error)) from error


def read_contents(address: str) -> Contents:
    """Read which tables the database at `address` has; none if it is a file that does not exist yet.

    Raises SQLAlchemyError if it does not answer or is no database, and ImportError if its driver is missing.
    """
    url = parsed(address)
    file = url.get_backend_name() == "sqlite"
    if file and (url.database in (None, "", ":memory:") or not Path(str(url.database)).exists()):
        return Contents()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(
        url, poolclass=NullPool, connect_args=_TIMEOUT.get(url.get_backend_name(), {})
    )
    with engine.connect() as connection:
        found = {name.lower() for name in sqlalchemy.inspect(connection).get_table_names()}
        revision = None
        if "alembic_version" in found:
            revision = MigrationContext.configure(connection).get_current_revision()
        runs = "runs" in found and connection.execute(sqlalchemy.text("SELECT 1 FROM runs")).first()
    return Contents(frozenset(found - {"alembic_version"}), revision, bool(runs))


def check_database(address: str) -> None:
    """Raise Unusable if the database at `address` belongs to another program or another version of MLflow.

    MLflow itself would add its tables to another program's, and upgrade an older version's without asking, after
    which that version's server could not use them any more. It is also raised if MLflow is installed under a path with
    a percent sign, which its migrations of databases take for the beginning of a placeholder.
    """
    if "%" in mlflow.__file__:
        raise Unusable(
            f"MLflow cannot use databases from the environment {sys.prefix}, whose path contains %",
            "Make the environment elsewhere: make install VENV=$HOME/mergershift-environment",
        )
    contents = read_contents(address)
    shown = without_password(address)
    match contents.owner:
        case "optuna" | "another program" as owner:
            whose = "the studies of Optuna" if owner == "optuna" else "tables of another program"
            some = ", ".join(sorted(contents.tables)[:3])
            raise Unusable(
                f"the database {shown} holds {whose} ({some}, ...), and MLflow needs one of its own",
                f"Set {ADDRESS} to another database; one that does not exist yet is created if it is an SQLite file",
            )
        case "mlflow" if contents.revision != revisions()[0]:
            _check_version(contents, shown)


def _check_version(contents: Contents, shown: str) -> None:
    installed = version("mlflow")
    known = contents.revision is None or contents.revision in revisions()
    if not known:
        raise Unusable(
            f"the database {shown} was written by a newer MLflow than the installed {installed} "
            f"(its schema is {contents.revision})",
            "Update MLflow (pip install --upgrade mlflow)",
        )
    # The tables of a file without runs are those of a process that was killed while it created them.
    if contents.has_runs or not shown.startswith("sqlite"):
        raise Unusable(
            f"the database {shown} was written by an older MLflow than the installed {installed} "
            f"(its schema is {contents.revision}, expected {revisions()[0]})",
            f"Back it up, stop servers that use it, and run `mlflow db upgrade {quote(shown)}`",
        )


def without_password(address: str) -> str:
    """Return the address of a database with its user but without the password."""
    url = parsed(address).difference_update_query(["password"])
    parts = (url.drivername, url.username, None, url.host, url.port, url.database, url.query)
    return sqlalchemy.URL.create(*parts).render_as_string(hide_password=False)


def of_database(causes: Sequence[BaseException], address: str) -> Diagnosis | None:
    """Diagnose a database that cannot be used; None if that is not what happened.

    Args:
        causes: the exception and those that led to it.
        address: address of the database.
    """
    for error in causes:
        if isinstance(error, ArgumentError | NoSuchModuleError):
            return Diagnosis(
                f"{public(address)} is not the address of a database ({first_line(error)})",
                f"Set {ADDRESS} to sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE",
            )
    shown = f"the database {without_password(address)}"
    for error in causes:
        if isinstance(error, ImportError):
            return Diagnosis(
                f"the driver of {shown} is not installed ({first_line(error)})", _driver(error, address)
            )
        if isinstance(error, SQLAlchemyError):
            for pattern, (meaning, remedy) in _MEANINGS.items():
                if re.search(pattern, str(error), re.IGNORECASE):
                    return Diagnosis(f"{shown} {meaning}", remedy.format(address=ADDRESS))
            return Diagnosis(
                f"{shown} fails: {first_line(error)}", "Look for the reason in the database's log"
            )
    return None


def _driver(error: ImportError, address: str) -> str:
    if address.startswith("postgresql"):
        return (
            f"Write postgresql+psycopg:// in {ADDRESS}, and install that driver: "
            'pip install "mergershift[postgresql]"'
        )
    return f"Install it: pip install {error.name}" if error.name else "Install it"
