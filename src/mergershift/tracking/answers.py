"""What a server's answer, or the lack of one, says about the server."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Sequence
from http.client import BadStatusLine, IncompleteRead, RemoteDisconnected

import requests
import urllib3
from google.protobuf.json_format import ParseError
from mlflow.exceptions import MlflowException, RestException
from mlflow.utils.credentials import read_mlflow_creds

from mergershift.core.errors import first_line
from mergershift.core.redaction import public
from mergershift.tracking.failures import ADDRESS, Diagnosis

_STATUS = re.compile(r"failed with error code (\d{3})|too many (\d{3}) error responses")
"""Both in `mlflow.utils.rest_utils.verify_rest_response` and in urllib3's `Retry`."""
_BODY = re.compile(r"Response body: '(.*)'", re.DOTALL)
_INVALID_HOST = "Invalid Host header"  # mlflow.server.security_utils.INVALID_HOST_MSG
_NAMES = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "ENDPOINT_NOT_FOUND": 404}
_CHECK_ADDRESS = f"Correct the host and port in {ADDRESS}"
_CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or ~/.mlflow/credentials)"
_LOG = "Look for the reason in the server's log"


def is_server(address: str) -> bool:
    """Return whether the address is that of a server, rather than of a database or a folder."""
    return address.lower().startswith(("http://", "https://"))


def of_connection(causes: Sequence[BaseException], address: str) -> Diagnosis | None:
    """Diagnose a server that could not be asked at all; None if that is not what happened.

    Args:
        causes: the exception and those that led to it.
        address: address of the server.
    """
    host, shown = _host(address), f"MLflow at {public(address)}"

    def among(*kinds: type[BaseException]) -> BaseException | None:
        return next((error for error in causes if isinstance(error, kinds)), None)

    if among(requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, UnicodeError):
        return Diagnosis(f"{public(address)} is not a URL", f"Set {ADDRESS} to http://HOST:PORT")
    if among(requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        return Diagnosis(
            f"{shown} does not answer: the proxy of this machine's environment refuses or fails",
            f"Add {host.partition(':')[0]} to NO_PROXY, or correct HTTP_PROXY and HTTPS_PROXY",
        )
    encrypted = among(ssl.SSLError, requests.exceptions.SSLError)
    if encrypted:
        return _of_encryption(encrypted, shown)
    if any("CA certificate bundle" in str(error) for error in causes):  # requests.adapters
        return Diagnosis(
            f"{shown} cannot be trusted: the file of certificates to accept is missing",
            "Correct MLFLOW_TRACKING_SERVER_CERT_PATH or REQUESTS_CA_BUNDLE",
        )
    if among(socket.gaierror, urllib3.exceptions.NameResolutionError):
        return Diagnosis(f"{shown} does not answer: the name {host} cannot be resolved", _CHECK_ADDRESS)
    if among(ConnectionRefusedError):
        return Diagnosis(
            f"{shown} does not answer: connection refused",
            f"Start the server, or set {ADDRESS} to another one",
        )
    if among(TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        return Diagnosis(
            f"{shown} does not answer: no answer in time",
            "Start the server or open the firewall; for a slow server, set MLFLOW_HTTP_REQUEST_TIMEOUT (s)",
        )
    if broken := among(BadStatusLine, IncompleteRead, ConnectionResetError, urllib3.exceptions.DecodeError):
        cut = isinstance(broken, RemoteDisconnected | IncompleteRead | ConnectionResetError)
        fault = "breaks off its answers" if cut else "does not answer in HTTP"
        encrypt = " (https:// if it is encrypted)" * address.startswith("http://")
        return Diagnosis(f"{shown} {fault}", f"{_CHECK_ADDRESS}{encrypt}, or look into the server's log")
    if lost := among(OSError):
        return Diagnosis(
            f"{shown} does not answer: {first_line(lost)}",
            "Check this machine's network and the server, or set " + ADDRESS + " to another one",
        )
    return None


def of_unchecked_login(causes: Sequence[BaseException], address: str) -> Diagnosis | None:
    """Diagnose a server that refuses the login of a request for files; None if that is not what happened.

    MLflow's server answers these requests with 401 also while its database cannot be asked for the user. A password
    that is wrong is refused before, by the requests for the run that the files belong to.
    """
    if _status(causes) != 401:
        return None
    return Diagnosis(
        f"MLflow at {public(address)} could not check the user or password for a request of files (401)",
        "Start the server's database, or set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD if they changed",
    )


def _of_encryption(error: BaseException, shown: str) -> Diagnosis:
    text = str(error)
    if "verify failed" in text or "doesn't match" in text:
        reason = re.search(r"verify failed: (.+?)\.? \(_ssl", text)
        return Diagnosis(
            f"{shown}: its certificate is not accepted ({reason[1] if reason else first_line(error)})",
            "Use the host's name that it was issued for, and set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the "
            "authority that signed it",
        )
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text or "PACKET_LENGTH" in text:
        return Diagnosis(
            f"{shown} does not use encryption", f"Write http:// instead of https:// in {ADDRESS}"
        )
    return Diagnosis(f"{shown}: no encrypted connection ({first_line(error)})", _CHECK_ADDRESS)


def of_answer(causes: Sequence[BaseException], address: str) -> Diagnosis | None:
    """Diagnose a server that refuses, fails, or is not MLflow's; None if that is not what happened.

    Args:
        causes: the exception and those that led to it.
        address: address of the server.
    """
    shown = f"MLflow at {public(address)}"
    found = [match[1] for error in causes if (match := _BODY.search(str(error)))]
    said = [str(error.json.get("message") or "") for error in causes if isinstance(error, RestException)]
    body = next(iter([*found, *said]), "").strip()
    if status := _status(causes):
        return _of_status(status, body, address, shown)
    no_data = any("not in a valid JSON format" in str(error) for error in causes)
    if no_data and body.startswith("<"):
        return Diagnosis(
            f"{shown} answers with a web page instead of data, so a proxy or a login page is in front of it",
            f"Set {ADDRESS} to the server itself, or MLFLOW_TRACKING_TOKEN to a token that the proxy accepts",
        )
    foreign = any(isinstance(error, RestException) and "error_code" not in error.json for error in causes)
    if foreign or no_data or any(isinstance(error, ParseError) for error in causes):
        return Diagnosis(f"{public(address)} does not answer as MLflow does", _CHECK_ADDRESS)
    return None


def _status(causes: Sequence[BaseException]) -> int | None:
    """Return the HTTP status that the server refused or failed with, if it is known."""
    for error in causes:
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return int(error.response.status_code)
        if (
            isinstance(error, RestException) and error.json.get("detail") == "Not Found"
        ):  # Starlette's own answer
            return 404
        if match := _STATUS.search(str(error)):
            return int(match[1] or match[2])
        if isinstance(error, MlflowException) and error.error_code in _NAMES:
            return _NAMES[error.error_code]
    return None


def _of_status(status: int, body: str, address: str, shown: str) -> Diagnosis:
    host = _host(address)
    match status:
        case 400 if "HTTPS port" in body:  # nginx
            return Diagnosis(f"{shown} expects encryption", f"Write https:// instead of http:// in {ADDRESS}")
        case 401 | 407:
            user = _user()
            return Diagnosis(
                f"{shown} does not accept the password of {user}, or has no such user ({status})"
                if user
                else f"{shown} asks for a user and password ({status})",
                f"Set {_CREDENTIALS}, or MLFLOW_TRACKING_TOKEN; its administrator knows them "
                "(`mergershift team user NAME --new-password` makes a new password)",
            )
        case 403 if _INVALID_HOST in body:
            return Diagnosis(
                f"{shown} does not accept requests to the name {host} (403)",
                f"Start the server with --allowed-hosts {host} (or MLFLOW_SERVER_ALLOWED_HOSTS={host})",
            )
        case 403:
            user = _user()
            return Diagnosis(
                f"{shown} does not permit this{f' to {user}' if user else ''} (403{_said(body)})",
                "Ask its administrator for the role that this needs (`mergershift team user NAME --role ROLE`), or set "
                f"{_CREDENTIALS} to those of somebody who has it",
            )
        case 404 | 405:
            return Diagnosis(
                f"no MLflow server at {public(address)} ({status})",
                f"Correct the host, port and path in {ADDRESS}; `--static-prefix` of the server is part of it",
            )
        case 413:
            return Diagnosis(
                f"{shown} does not accept files of this size (413)",
                "Raise the limit of the proxy in front of it (nginx: client_max_body_size)",
            )
        case 429:
            return Diagnosis(f"{shown} is busy (429)", "Wait until it has fewer requests")
        case 503:
            return Diagnosis(
                f"{shown} does not answer (503): its database does not, or a proxy in front of it finds no server",
                "Start the server's database, or the MLflow server behind the proxy",
            )
        case 502 | 504:
            return Diagnosis(
                f"{shown} does not answer: the proxy in front of it finds no server ({status})",
                "Start the MLflow server behind the proxy",
            )
    return Diagnosis(f"{shown} fails to answer ({status}{_said(body)})", _LOG)


def _user() -> str | None:
    """Return the user whose name MLflow's client sends; None if it sends none."""
    if os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return None
    return read_mlflow_creds().username or None


def _host(address: str) -> str:
    """Return the host and port of a server's address."""
    return address.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _said(body: str) -> str:
    """Return the first line of a plain-text answer, for the end of a message."""
    line = body.partition("\n")[0]
    return "" if not line or line.startswith("<") else f": {public(line)[:100]}"
