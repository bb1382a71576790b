"""Try out a tracking server: who one is there, and whether one may log, by a run that is deleted again."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from mergershift.core.errors import UserError, first_line
from mergershift.core.redaction import public
from mergershift.tracking.answers import is_server
from mergershift.tracking.artifact_store import store_of
from mergershift.tracking.diagnosis import FAILURES, diagnose
from mergershift.tracking.failures import reaching_store
from mergershift.tracking.find_run import experiment_id, experiment_named
from mergershift.tracking.run_files import RunFiles
from mergershift.tracking.server import connect

CHECK_RUN = "connection check"
"""Name of the run that a check makes and deletes."""
_CHECKED_BY = "mergershift.check"
"""Tag of that run, with the name of the user who made it."""
_FILE = "check.txt"
_PATIENCE = "15"
"""Seconds to wait for an answer, longer than a training would: a server that is only slow can be used."""
_WHO = "/api/2.0/mlflow/users/current"
_REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED")


@dataclass
class Connection:
    """What is known of a tracking server after it has been tried out."""

    address: str
    """Address without credentials."""
    user: str | None = None
    """Name of the user; None if the server requires no login."""
    may_log: bool = False
    """Whether runs may be logged; otherwise they may only be read."""
    server: str | None = None
    """MLflow's version on the server; None if it does not say."""
    client: str = field(default_factory=lambda: version("mlflow"))
    notes: list[str] = field(default_factory=list)
    """Whatever is worth knowing, one sentence each."""


class NoConnection(UserError):
    """A tracking server that cannot be used."""

    def __init__(self, what: str, remedy: str, *, login: bool) -> None:
        super().__init__(f"{what}.\n{remedy}.")
        self.what = what
        self.remedy = remedy
        self.login = login
        """Whether the server refuses the login, rather than anything else."""


def try_out(address: str, experiment: str) -> Connection:
    """Log a run with a metric and a file to an experiment, read both back, and delete the run.

    Raises NoConnection if the server or database cannot be used.
    """
    found = Connection(public(address))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _PATIENCE)
    try:
        client = connect(address, brief=True)
        if is_server(address):
            found.user, found.server = _who(address), _server_version(address)
        where = _experiment(client, address, experiment, found)
        if where is not None:
            _round_trip(client, where, found)
    except NoConnection:
        raise
    except FAILURES as error:
        diagnosis = diagnose(error, address)
        refused = isinstance(error, MlflowException) and _is_refused_login(error)
        raise NoConnection(diagnosis.what, diagnosis.remedy, login=refused) from error
    if found.server and found.server.split(".")[:2] != found.client.split(".")[:2]:
        found.notes.append(f"The server runs MLflow {found.server}, this machine {found.client}.")
    if found.user is not None and address.startswith("http://") and not _is_loopback(address):
        found.notes.append("The password travels unencrypted: have the server put behind https://.")
    return found


def _who(address: str) -> str | None:
    """Name of the user; None if the server requires no login. Raises an MlflowException if it refuses the login."""
    answer = http_request(host_creds=get_default_host_creds(address), endpoint=_WHO, method="GET")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    verify_rest_response(answer, _WHO)
    try:
        return str(answer.json()["user"]["username"])
    except (ValueError, KeyError, TypeError):
        return None


def _server_version(address: str) -> str | None:
    answer = http_request(host_creds=get_default_host_creds(address), endpoint="/version", method="GET")
    text = answer.text.strip()
    return text if answer.ok and text[:1].isdigit() and len(text) < 20 else None


def _experiment(client: MlflowClient, address: str, name: str, found: Connection) -> str | None:
    """Id of the experiment, which is created if one may; None if one may only look."""
    known = experiment_named(client, name)
    if known is not None and known.lifecycle_stage == "deleted":
        raise NoConnection(
            f"the experiment {name} is deleted on the server",
            "Have it restored, or set tracking.experiment to another one",
            login=False,
        )
    if known is not None:
        return str(known.experiment_id)
    try:
        return experiment_id(client, address, name, restore=False)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
    found.notes.append(
        f"The experiment {name} does not exist, and you may not create it: "
        "have its administrator run `mergershift team setup`."
    )
    return None


def _round_trip(client: MlflowClient, experiment: str, found: Connection) -> None:
    text = secrets.token_hex(16)
    try:
        run = _left_over(client, experiment, found) or client.create_run(
            experiment, run_name=CHECK_RUN, tags={_CHECKED_BY: found.user or ""}
        )
    except MlflowException as error:
        if error.error_code == "PERMISSION_DENIED" and found.user is not None:
            return
        raise
    try:
        client.log_metric(run.info.run_id, "check", 1.0)
        RunFiles(client, run).store({_FILE: text.encode()})
        _compare(client, run, text)
        found.may_log = True
    finally:
        _delete(client, run, found)


def _left_over(client: MlflowClient, experiment: str, found: Connection) -> Run | None:
    """Return the run of an earlier check that could not be deleted, so that such runs do not pile up."""
    earlier = client.search_runs([experiment], f"tags.`{_CHECKED_BY}` = '{found.user or ''}'", max_results=1)
    return next(iter(earlier), None)


def _compare(client: MlflowClient, run: Run, text: str) -> None:
    if client.get_run(run.info.run_id).data.metrics.get("check") != 1.0:
        raise MlflowException("the server lost a metric that it had accepted")
    with reaching_store(f"{_FILE} could not be fetched"), TemporaryDirectory(prefix="mergershift-") as folder:
        back = Path(store_of(client, run).download_artifacts(_FILE, folder)).read_text()
    if back != text:
        raise MlflowException("the artifact store gave back something else than was stored")


def _delete(client: MlflowClient, run: Run, found: Connection) -> None:
    """Delete the file and the run; a note says if the run could not be deleted."""
    with suppress(Exception):  # some stores cannot delete
        store_of(client, run).delete_artifacts()
    try:
        client.delete_run(run.info.run_id)
    except MlflowException as error:
        reason = "you may not delete runs" if error.error_code == "PERMISSION_DENIED" else first_line(error)
        found.notes.append(f"The run '{CHECK_RUN}' of this check stays on the server: {reason}.")


def _is_refused_login(error: MlflowException) -> bool:
    return error.error_code in _REFUSED or "error code 401" in str(error)


def _is_loopback(address: str) -> bool:
    return urlsplit(address).hostname in ("localhost", "127.0.0.1", "::1")
