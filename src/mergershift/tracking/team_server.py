"""A team's server: MLflow with login and roles, on a database of its own."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from mergershift.core.database_files import sqlite_path
from mergershift.core.processes import available_cores
from mergershift.tracking.account_database import check_databases
from mergershift.tracking.mlflow_server import (
    Serving,
    require_free_port,
    run_server,
    server_command,
    server_environment,
)
from mergershift.tracking.server_settings import ADMIN, PASSWORD, SECRET_KEY, ServerSettings

COMMAND = "mergershift server"
FEWEST_WORKERS, MOST_WORKERS = 2, 4
"""Processes that answer requests, by the number of cores; each takes some 300 MB of memory."""
_SECONDS_TO_STOP = "5"


def sensible_workers(settings: ServerSettings) -> int:
    """Return the number of processes that answer requests: one for an SQLite file, which has one writer at a time."""
    if sqlite_path(settings.database) is not None:
        return 1
    return min(MOST_WORKERS, max(FEWEST_WORKERS, available_cores()))


def serve_team(settings: ServerSettings, serving: Serving) -> None:
    """Run the server in the foreground until it is interrupted or gets a SIGTERM, which ends all of its processes.

    Raises UserError if a database or the port cannot be used, or if MLflow's server ends by itself.
    """
    check_databases(settings)
    require_free_port(serving, COMMAND)
    for address in (settings.database, settings.accounts):
        path = sqlite_path(address)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.umask(0o077)  # the accounts' file holds hashes of passwords
    lines = [
        f"MLflow's server answers at {serving.shown} and asks for a login; the administrator is {settings.admin}.",
        "Prepare it with `mergershift team setup`, and add people with `mergershift team user NAME --role editor`.",
    ]
    with _login(settings) as (folder, login):
        variables = login | team_environment(settings, serving)
        command = server_command(
            serving,
            ["--app-name", "basic-auth", "--serve-artifacts", "--artifacts-destination", settings.artifacts],
        )
        run_server(serving, command, variables, folder, lines, sys.stderr)


def team_environment(settings: ServerSettings, serving: Serving) -> dict[str, str]:
    """Return the variables that configure the server, passwords among them."""
    return server_environment(serving, settings.database) | {
        ADMIN: settings.admin,
        PASSWORD: settings.password,
        SECRET_KEY: settings.secret_key,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONWARNINGS": "ignore",
        "UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN": _SECONDS_TO_STOP,
    }


@contextmanager
def _login(settings: ServerSettings) -> Iterator[tuple[Path, dict[str, str]]]:
    """Write the file by which MLflow's login is configured, for the time that the server runs.

    It is in a new folder that only this user can read, since it has the password of the accounts' database.
    MLflow's own cache of passwords stays off: a worker would accept a former password until it expires, and `access`,
    which has a better one, would take it for the present one.
    """
    with TemporaryDirectory(prefix="mergershift-server-") as folder:
        values = {
            "default_permission": "READ",
            "database_uri": settings.accounts,
            "admin_username": settings.admin,
            "authorization_function": "mergershift.tracking.access:authenticate",
        }
        config = configparser.ConfigParser()
        config["mlflow"] = {name: value.replace("%", "%%") for name, value in values.items()}
        path = Path(folder) / "login.ini"
        with path.open("w") as file:
            config.write(file)
        yield Path(folder), {"MLFLOW_AUTH_CONFIG_PATH": str(path)}
