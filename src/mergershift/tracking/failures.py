"""Failures between MLflow's client and its server, database or artifact store: what was found, and a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

from mlflow.exceptions import MlflowException

ADDRESS = "MLFLOW_TRACKING_URI (or tracking.uri)"
"""The two settings that can hold MLflow's address, as a remedy names them; the second takes precedence."""

_DATABRICKS = ("databricks", "databricks-uc", "uc")


@dataclass(frozen=True)
class Diagnosis:
    """Message about a failure, in two clauses without final full stop."""

    what: str
    """What was found, with the address that it concerns."""
    remedy: str
    """What the user can do about it."""


class Unusable(Exception):
    """An address that MLflow could not use, or not without damage; raised before anything is written there."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.diagnosis = Diagnosis(what, remedy)


@contextmanager
def permitted() -> Iterator[None]:
    """Leave out what the server does not permit to this user; other failures pass."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise


class StoreFailure(MlflowException):
    """Files that could not be stored in, listed in or fetched from an artifact store."""


@contextmanager
def reaching_store(failure: str) -> Iterator[None]:
    """Turn any exception of an artifact store's library into a StoreFailure that begins with `failure`.

    Stores such as S3 are accessed through libraries of their own, which raise many kinds of exceptions and may not
    be installed at all.
    """
    try:
        yield
    except Unusable:
        raise
    except Exception as error:
        raise StoreFailure(f"{failure}: {error}") from error


def check_address(address: str) -> None:
    """Raise Unusable if the address is that of a folder, MLflow's former kind of storage."""
    folder = _local(address)
    if folder is None or address in _DATABRICKS:
        return
    path = folder.absolute()
    remedy = f"Set {ADDRESS} to a server (http://HOST:PORT) or a database (sqlite:///FILE), or leave it empty"
    if path.is_dir():
        target = f"sqlite:///{path}.db"
        remedy = (
            f"Copy its runs with `mlflow migrate-filestore --source {quote(str(path))} --target {quote(target)}`, "
            f"and set {ADDRESS} to {target}"
        )
    raise Unusable(f"MLflow's address {address} is a folder, which is not supported", remedy)


def check_store(address: str, artifacts: str, *, fetching: bool = False) -> None:
    """Raise Unusable if a server has its clients use a local folder for artifacts, which this machine does not have.

    Without this check, the files of a run would be written to a folder of that name here, which the server never
    sees.

    Args:
        address: address of the server or database.
        artifacts: URI of a run's artifacts, or of files below them.
        fetching: whether the files themselves have to exist, rather than only the root of all experiments.
    """
    folder = _local(artifacts)
    if folder is None or not address.startswith(("http://", "https://")):
        return
    # ROOT/EXPERIMENT/RUN/artifacts: MLflow creates the folders of experiments and runs only when it needs them.
    root = folder.parents[min(2, len(folder.parents) - 1)]
    if not (folder if fetching else root).exists():
        raise Unusable(
            f"the MLflow server keeps artifacts in its own folder {folder if fetching else root}, "
            "which this machine does not have",
            "Start the server with --serve-artifacts and --artifacts-destination and rename the experiment in MLflow, "
            "since it keeps its folder, or mount the folder here",
        )


def _local(uri: str) -> Path | None:
    """Return the path of a local folder's URI, or None if it is elsewhere."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # a malformed host; MLflow's client says so
        return None
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme else Path(uri)
