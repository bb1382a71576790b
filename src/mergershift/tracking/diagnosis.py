"""The one place where a failure of MLflow is put into a message: an error of a command, a warning of a training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from alembic.util.exc import CommandError
from google.protobuf.json_format import ParseError
from mlflow.exceptions import MlflowException
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from sqlalchemy.exc import SQLAlchemyError

from mergershift.core.errors import UserError, chain, first_line
from mergershift.core.redaction import public
from mergershift.tracking import answers, database
from mergershift.tracking.failures import ADDRESS, Diagnosis, StoreFailure, Unusable

logger = logging.getLogger(__name__)

FAILURES = (Unusable, MlflowException, SQLAlchemyError, CommandError, ParseError, ImportError, OSError)
"""Whatever MLflow's client raises because of its server, database or artifact store."""


def diagnose(error: BaseException, address: str) -> Diagnosis:
    """Say what went wrong with MLflow at `address`, and what to do about it."""
    causes = list(chain(error))
    for cause in causes:
        if isinstance(cause, Unusable):
            return cause.diagnosis
        if isinstance(cause, UnsupportedModelRegistryStoreURIException):
            return _unknown_scheme(address)
    store = next((cause for cause in causes if isinstance(cause, StoreFailure)), None)
    found = None
    if store is not None:
        found = _of_store(store, causes, address)
    elif database.is_database(address):
        found = database.of_database(causes, address)
    elif answers.is_server(address):
        found = answers.of_answer(causes, address) or answers.of_connection(causes, address)
    return found or Diagnosis(
        f"MLflow at {public(address)} fails: {first_line(error)}",
        f"Fix that, or set {ADDRESS} to another server or database",
    )


@contextmanager
def answering(address: str) -> Iterator[None]:
    """Turn any failure between MLflow's client and its server or database into a UserError."""
    try:
        yield
    except FAILURES as error:
        found = diagnose(error, address)
        raise UserError(
            f"{found.what}.\n{found.remedy}. Nothing is lost: run the same command again afterwards."
        ) from error


@contextmanager
def tolerating(address: str, consequence: str) -> Iterator[None]:
    """Turn any failure into a warning that ends with `consequence`; the rest of the block is skipped.

    What is logged to MLflow is also on disk, so that not even an unexpected exception is worth losing a training.
    """
    try:
        yield
    except Exception as error:
        warn(error, address, consequence)


def warn(error: Exception, address: str, consequence: str) -> None:
    """Log a warning of two lines: what failed, then what to do and `consequence`, a clause."""
    found = diagnose(error, address)
    logger.warning("%s.\n%s; %s", found.what, found.remedy, consequence)
    logger.debug("the failure of MLflow", exc_info=error)


def _of_store(store: StoreFailure, causes: list[BaseException], address: str) -> Diagnosis:
    """Diagnose a failure to reach an artifact store: the MLflow server itself if it passes on artifacts."""
    for cause in causes:
        request = getattr(cause, "request", None)
        if answers.is_server(address) and public(str(getattr(request, "url", ""))).startswith(
            public(address)
        ):
            found = (
                answers.of_unchecked_login(causes, address)
                or answers.of_answer(causes, address)
                or answers.of_connection(causes, address)
            )
            if found:
                return found
        if isinstance(cause, ImportError):
            return Diagnosis(first_line(store), "Install the library of that artifact store on this machine")
    return Diagnosis(
        first_line(store),
        "Check this machine's access to the artifact store: its address, credentials and free space",
    )


def _unknown_scheme(address: str) -> Diagnosis:
    remedy = f"Set {ADDRESS} to http://HOST:PORT, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
    return Diagnosis(f"{public(address)} is not an address that MLflow can use", remedy)
