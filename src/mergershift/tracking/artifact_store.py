"""Where the files of runs and registered models are: beside the database, wherever the checkout is now.

MLflow stores absolute addresses, but a checkout can be moved, or be used alternately on the host and in a container.
Addresses from the database of a checkout are therefore never used as they are (`located`). For MLflow's own programs,
which do use them, they are updated in the database whenever the project connects to it (`update_addresses`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mergershift.core.checkout import enclosing
from mergershift.core.database_files import sqlite_path

FOLDER, MLFLOWS_OWN = "mlartifacts", "mlruns"
"""Folders of a checkout with files of runs: the project's, and the one of MLflow's experiment "Default"."""
COLUMNS = (
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("runs", "artifact_uri"),
)
"""Tables and columns of MLflow's database that hold addresses of files."""
PATIENCE = 5
"""Seconds to wait for another process that is writing to the database."""


def new_experiment_location(address: str) -> str | None:
    """Address for the files of a new experiment, beside its database file; None leaves the choice to the server."""
    path = sqlite_path(address)
    return None if path is None else ((enclosing(path.parent) or path.parent) / FOLDER).as_uri()


def located(address: str, uri: str) -> str:
    """Return where the files at `uri` are now, an address from the server or database at `address`.

    Only addresses from the database of a checkout are changed, and only if they lead to a folder of one of the
    two names, as those of a former place of the checkout do, but not to files that exist there alone.
    """
    path = sqlite_path(address)
    checkout = None if path is None else enclosing(path.parent)
    then = Path(unquote(urlparse(uri).path) if uri.startswith("file:") else uri)
    known = [index for index, part in enumerate(then.parts) if part in (FOLDER, MLFLOWS_OWN)]
    if checkout is None or not known or not then.is_absolute():
        return uri
    now = checkout.joinpath(*then.parts[known[-1] :])
    elsewhere = then.exists() and not now.exists()
    return uri if elsewhere else now.as_uri()


def is_local(address: str, uri: str) -> bool:
    """Return whether the files at `uri`, an address from the server or database at `address`, are on this machine."""
    return located(address, uri).startswith(("file:", "/"))


def store_of(client: MlflowClient, run: Run) -> ArtifactRepository:
    """Return the store of a run's files; may raise any exception of the library that accesses it."""
    return store_at(client, run.info.artifact_uri)


def store_at(client: MlflowClient, uri: str) -> ArtifactRepository:
    """Return the store of the files at `uri`, an address that the server or database gave; see `store_of`."""
    address = client.tracking_uri
    return get_artifact_repository(located(address, uri), tracking_uri=address)


def update_addresses(address: str) -> None:
    """Update the addresses of files in a checkout's database after the checkout has been moved.

    A database that cannot be written to at the moment is left as it is until the next time.
    """
    path, here = sqlite_path(address), new_experiment_location(address)
    if path is None or here is None:
        return
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
        for table, column in COLUMNS:
            with suppress(sqlite3.OperationalError), database:
                rows = database.execute(
                    f"SELECT rowid, {column} FROM {table} WHERE substr({column}, 1, ?) != ?",
                    (len(here), here),
                ).fetchall()
                new = [(now, row) for row, uri in rows if (now := located(address, uri)) != uri]
                database.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", new)
