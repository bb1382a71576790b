"""How to reach MLflow: its address, a client, and what to say where it does not answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import requests
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError, first_line
from mergershift.core.redaction import public

logger = logging.getLogger(__name__)

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
NO_ANSWER = (MlflowException, SQLAlchemyError, OSError)
PROBE_TIMEOUT = 3
"""Seconds to wait for any answer of a server."""


def tracking_address(configured: str | None) -> str:
    """The configured address, else MLFLOW_TRACKING_URI, else an SQLite file in the main checkout.

    A relative SQLite path counts from there too: a worktree and what lies in it go with the next run.
    """
    address = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    if not address.startswith(SQLITE) or os.path.isabs(address.removeprefix(SQLITE)):
        return address
    return f"{SQLITE}{main_checkout() / address.removeprefix(SQLITE)}"


def recorded_address(recorded: str | None, configured: str | None) -> str:
    """Where the run of a finished training is.

    Args:
        recorded: the address in the training's configuration, which keeps no password.
        configured: today's.

    It is the address of today's configuration or environment that differs from the recorded one by credentials
    alone, else the recorded one; where the training's configuration named none, `tracking_address` of today's.
    """
    if recorded is None:
        return tracking_address(configured)
    today = (configured, os.environ.get("MLFLOW_TRACKING_URI"))
    same = (each for each in today if each and public(each) == public(recorded))
    return tracking_address(next(same, recorded))


def set_defaults() -> None:
    """Set what MLflow reads from the environment when it is used, unless the user has set it.

    Loading pickles stays forbidden: whoever may write to a server's store could run code wherever a model is loaded.
    """
    for name, value in {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(name, value)


def connect(address: str, *, brief: bool = False) -> MlflowClient:
    """A client of the server or database at `address`; a `brief` one waits for seconds where nothing answers.

    Neither waits for MLflow's minutes of retries. What the environment says of them counts.
    """
    set_defaults()
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # warns of each attempt
    retries, timeout = ("1", "5") if brief else ("3", "20")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", timeout)
    with _alone(address):
        return MlflowClient(tracking_uri=address, registry_uri=address)


def _alone(address: str) -> AbstractContextManager[object]:
    """Keeps two processes that meet an empty database file from both creating its tables."""
    local = address.startswith(SQLITE)
    return FileLock(f"{address.removeprefix(SQLITE)}.lock") if local else nullcontext()


def reach(address: str) -> None:
    """Raise an OSError within seconds where nothing answers at `address`; any answer counts, and any database."""
    if not address.startswith(("http://", "https://")):
        return
    try:
        requests.get(f"{address.rstrip('/')}/health", timeout=PROBE_TIMEOUT)
    except requests.exceptions.SSLError:  # MLflow's own settings decide which certificates it takes
        return
    except requests.RequestException as error:
        raise ConnectionError(type(error).__name__) from error


@contextmanager
def answering() -> Iterator[None]:
    """Turn whatever goes wrong between MLflow's client and its server or database into a UserError."""
    try:
        yield
    except NO_ANSWER as error:
        raise UserError(
            f"MLflow does not answer: {first_line(error)}.\n"
            "Nothing is lost: start the server, or set MLFLOW_TRACKING_URI to another, and give the command again."
        ) from error


@contextmanager
def reaching_store(failure: str) -> Iterator[None]:
    """Turn whatever an artifact store's library raises into an MlflowException that begins with `failure`.

    Stores such as S3 are reached by libraries of their own, which fail in many ways and may not be there at all.
    """
    try:
        yield
    except Exception as error:
        raise MlflowException(f"{failure}: {error}") from error


@contextmanager
def tolerating(address: str, remedy: str) -> Iterator[None]:
    """Turn it into a warning that ends with `remedy`; what was to be done is left undone."""
    try:
        yield
    except NO_ANSWER as error:
        logger.warning("MLflow at %s does not answer (%s): %s", public(address), first_line(error), remedy)
