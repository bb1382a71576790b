"""How to reach MLflow: its address, a client, and what to say where it does not answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Whoever may write to a server's store could else run code wherever one of its models is loaded.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from mergershift.errors import UserError
from mergershift.project import main_checkout

DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
NO_ANSWER = (MlflowException, SQLAlchemyError, OSError)


def tracking_address(configured: str | None) -> str:
    """The configured address, else MLFLOW_TRACKING_URI, else an SQLite file in the main checkout.

    A relative SQLite path counts from there too: a worktree and what lies in it go with the next run.
    """
    address = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{DATABASE}"
    if not address.startswith(SQLITE):
        return address
    return f"{SQLITE}{main_checkout() / address.removeprefix(SQLITE)}"


def connect(address: str) -> MlflowClient:
    """A client of the server or database at `address`."""
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # A server that is down is to be reported within seconds, not after MLflow's minutes of retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    return MlflowClient(tracking_uri=address, registry_uri=address)


def first_line(error: Exception) -> str:
    """What went wrong, short."""
    return str(error).splitlines()[0][:200]


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
