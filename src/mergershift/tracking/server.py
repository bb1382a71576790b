"""Connect to MLflow: its address, a client, and a quick check that a server answers."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

import requests
from filelock import FileLock
from mlflow import MlflowClient

from mergershift.core.checkout import main_checkout
from mergershift.core.database_files import SQLITE, sqlite_address, sqlite_path
from mergershift.core.redaction import public
from mergershift.tracking.artifact_store import update_addresses
from mergershift.tracking.database import check_database, is_database
from mergershift.tracking.failures import check_address

DATABASE = "mlflow.db"
PROBE_TIMEOUT = 3
"""Seconds to wait for a server's answer to the probe."""


def tracking_address(configured: str | None) -> str:
    """Return the configured address, else MLFLOW_TRACKING_URI, else that of an SQLite file in the main checkout.

    A relative SQLite path is also resolved against the main checkout: a file in a worktree would be lost with it.
    All worktrees can share a database, since a run is found by the id of its training, not by its name.
    """
    address = configured or os.environ.get("MLFLOW_TRACKING_URI") or sqlite_address(Path(DATABASE))
    path = sqlite_path(address)
    return address if path is None or path.is_absolute() else sqlite_address(main_checkout() / path)


def recorded_address(recorded: str | None, configured: str | None) -> str:
    """Return the address of the server that has the run of a finished training.

    Args:
        recorded: the address in the training's configuration, stored without credentials.
        configured: the address in the current configuration.

    If the address in the current configuration or environment differs from the recorded one only by its
    credentials, that one is returned, otherwise the recorded one. If the training's configuration named no
    address, the result is that of `tracking_address` for the current configuration.
    """
    if recorded is None:
        return tracking_address(configured)
    current = (configured, os.environ.get("MLFLOW_TRACKING_URI"))
    same_server = (address for address in current if address and public(address) == public(recorded))
    return tracking_address(next(same_server, recorded))


def set_defaults() -> None:
    """Set the environment variables that MLflow reads at run time, unless the user has set them.

    Loading pickles stays forbidden: anyone with write access to a server's artifact store could otherwise run code
    on every machine that loads a model.
    Files go through the server: with a store of its own behind it, it would otherwise send clients to an address that
    only the server can reach.
    """
    for name, value in {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(name, value)


def connect(address: str, *, brief: bool = False) -> MlflowClient:
    """Return a client of the server or database at `address`.

    A `brief` client gives up within seconds when nothing answers, and neither kind retries for minutes, as MLflow
    does by default. Retries and timeouts that the environment sets take precedence.

    Raises Unusable for a folder, and for a database of another program or version, before anything is written there.
    """
    set_defaults()
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints tracebacks
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it warns of every attempt
    retries, timeout = ("1", "5") if brief else ("3", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", timeout)
    check_address(address)
    path = sqlite_path(address)
    if path is None:
        if is_database(address):
            check_database(address)
        return MlflowClient(tracking_uri=address, registry_uri=address)
    # Without the lock, two processes would both create the tables of an empty database.
    with FileLock(f"{path}.lock"):
        check_database(address)
        client = MlflowClient(tracking_uri=address, registry_uri=address)
        update_addresses(address)
        _remove_stray_folder(client, address, path)
    return client


def _remove_stray_folder(client: MlflowClient, address: str, path: Path) -> None:
    """Remove the empty folder that MLflow creates for a database file whose address is percent-encoded."""
    taken = Path(address.removeprefix(SQLITE)).parent
    if taken != path.parent:
        client.search_registered_models(max_results=1)  # it opens the registry at its first use, once more
        with suppress(OSError):
            os.removedirs(taken)


def reach(address: str) -> None:
    """Raise an OSError within seconds if no server answers at `address`.

    Any answer is enough, even an error, and a database needs none.
    """
    if not address.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{address.rstrip('/')}/health", timeout=PROBE_TIMEOUT)
    except requests.exceptions.SSLError:  # MLflow's own settings decide which certificates to accept
        return
    except requests.RequestException as error:
        raise ConnectionError(type(error).__name__) from error
