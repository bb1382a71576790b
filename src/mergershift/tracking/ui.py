"""Serve MLflow's own web interface for the checkout's database."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import psutil
import requests

from mergershift.config import compose
from mergershift.core.checkout import enclosing, main_checkout
from mergershift.core.database_files import sqlite_address, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.processes import ENDS_WITH, end_processes, environment, variable_of
from mergershift.core.redaction import public
from mergershift.tracking.answers import is_server
from mergershift.tracking.artifact_store import FOLDER
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.find_run import experiment_named
from mergershift.tracking.pages import experiment_page
from mergershift.tracking.server import PROBE_TIMEOUT, connect, set_defaults, tracking_address
from mergershift.tracking.views import BY_METHOD, STUDY, VERSIONS, VIEW_TAG

_SCHEMES = ("http", "https")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# What MLflow itself allows if nothing else is configured (mlflow/server/security_utils.py).
_PRIVATE = ("192.168.*", "10.*", *(f"172.{number}.*" for number in range(16, 32)), "fc00:*", "fd00:*")

_POLL_SECONDS = 0.2
_QUIET = {"UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning"}
"""Variables with which MLflow's server does not print every request; a user's own take precedence."""


@dataclass(frozen=True)
class Serving:
    """How the web interface is served."""

    host: str
    port: int
    allowed_hosts: tuple[str, ...] = ()
    """Names by which browsers reach this machine, in addition to its own; with wildcards, as MLflow takes them."""
    static_prefix: str | None = None
    further: tuple[str, ...] = ()
    """Further options of `mlflow server`."""

    @property
    def shown(self) -> str:
        """Address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.static_prefix or ''}"


def serve_ui(serving: Serving, *, study: bool = False) -> None:
    """Serve MLflow's web interface for the tracking database until interrupted, and print the addresses of its pages.

    If the runs are on a tracking server, only print the addresses of that server's pages.

    Args:
        serving: how the web interface is served.
        study: whether to print the address of the saved view of the study instead of that of all runs.

    Raises UserError if that server or the database cannot be used, if there is no such view, if the port is not free,
    or if MLflow's server fails.
    """
    config = compose().tracking
    address = tracking_address(config.uri)
    with answering(address):
        client = connect(address)
        found = experiment_named(client, config.experiment)
    experiment = None if found is None or found.lifecycle_stage == "deleted" else found
    views = (STUDY, BY_METHOD) if study else ()
    if study and (experiment is None or any(VIEW_TAG + view not in experiment.tags for view in views)):
        raise UserError(
            f"the MLflow experiment {config.experiment} has no saved view of the study.\n"
            f"Write it with `mergershift sync` after `mergershift repro`; it needs MLflow {VERSIONS}x."
        )
    pages = public(address) if is_server(address) else serving.shown
    shown = experiment.experiment_id if experiment else None
    if study:
        lines = [
            f"The study: {experiment_page(pages, shown, STUDY)}",
            f"Means over seeds: {experiment_page(pages, shown, BY_METHOD)}",
            f"Charts: {experiment_page(pages, shown, STUDY, charts=True)}",
        ]
    else:
        lines = [f"MLflow's runs: {experiment_page(pages, shown)}"]
    if is_server(address):
        print("\n".join(lines))
    else:
        _serve(serving, address, [*lines, "Stop the server with Ctrl-C."])


def _serve(serving: Serving, address: str, lines: Sequence[str]) -> None:
    """Run MLflow's server for a database until it is interrupted, and print `lines` as soon as it answers."""
    _require_free_port(serving)
    path = sqlite_path(address)
    folder = main_checkout() if path is None else enclosing(path.parent) or path.parent
    # A relative path contains no characters that MLflow would take for a part of the address.
    store = address if path is None else sqlite_address(path.relative_to(folder))
    set_defaults()
    command = server_command(serving, (folder / FOLDER).as_uri())
    variables = environment() | server_environment(serving, store)
    print("Starting MLflow's server ...", flush=True)
    server = subprocess.Popen(command, env=variables, cwd=folder)
    try:
        while server.poll() is None and not _answers(serving):
            time.sleep(_POLL_SECONDS)
        if server.poll() is None:
            print("\n".join(lines), flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("MLflow's server is being stopped.", flush=True)
        return
    finally:
        # MLflow's command runs the server as a process of its own, which would survive it.
        end_processes(lambda process: variable_of(process, ENDS_WITH) == variables[ENDS_WITH])
        server.wait()
    if server.returncode > 0:
        raise UserError(
            f"MLflow's server stopped with exit code {server.returncode}.\n"
            "See its message above; `mlflow server --help` lists its options."
        )


def _require_free_port(serving: Serving) -> None:
    """Raise UserError if a server cannot listen on the port."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            serving.host, serving.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as MLflow's server does
            probe.bind(place)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {serving.port} of {serving.host} is in use, perhaps by another `mergershift ui`.\n"
                f"Stop that program, or choose another port: mergershift ui --port {serving.port % 65535 + 1}."
            ) from error
        raise UserError(
            f"cannot listen on port {serving.port} of {serving.host} ({error.strerror or error}).\n"
            "Choose --host 127.0.0.1 or an address of this machine, and a --port above 1023."
        ) from error


def _answers(serving: Serving) -> bool:
    """Return whether the server on this machine answers."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    here = replace(serving, host=anywhere.get(serving.host, serving.host))
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy leads to this machine
            session.get(f"{here.shown}/health", timeout=PROBE_TIMEOUT)
    except requests.RequestException:
        return False
    return True


def server_command(serving: Serving, artifacts: str) -> list[str]:
    """Return the command line of MLflow's server; the user's own options come last and override the others.

    Args:
        serving: how the web interface is served.
        artifacts: folder or address for the files of new experiments.
    """
    prefix = ["--static-prefix", serving.static_prefix] if serving.static_prefix else []
    store = ["--default-artifact-root", artifacts, "--workers", "1"]
    where = ["--host", serving.host, "--port", str(serving.port), *prefix]
    return [sys.executable, "-m", "mlflow", "server", *store, *where, *serving.further]


def server_environment(serving: Serving, address: str) -> dict[str, str]:
    """Return the variables by which MLflow's server is configured, since other users can read command lines.

    MLflow answers only requests to hosts that it was given, and without any to this machine's loopback and private
    addresses; a page that changes something, or searches, also has to come from a host that it was given.

    Args:
        serving: how the web interface is served.
        address: address of the database.
    """
    variables = {name: os.environ.get(name, value) for name, value in _QUIET.items()}
    variables |= {"MLFLOW_BACKEND_STORE_URI": address, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    own = [] if serving.host in ("localhost", "127.0.0.1", "::1") else _own_names(serving.host)
    names = [*own, *serving.allowed_hosts]
    if names:
        hosts = [form for name in (*_LOOPBACK, "0.0.0.0", *names) for form in _with_any_port(name)]
        origins = [
            f"{scheme}://{form}" for name in names for form in _with_any_port(name) for scheme in _SCHEMES
        ]
        variables["MLFLOW_SERVER_ALLOWED_HOSTS"] = ",".join(dict.fromkeys([*hosts, *_PRIVATE]))
        variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(dict.fromkeys(origins))
    return variables


def _with_any_port(name: str) -> Iterable[str]:
    """Return a host as MLflow compares it with a request's: literally, and as a pattern for any port."""
    yield name
    if not re.search(r"[*]|:\d+$", name.partition("]")[2] or name):
        yield f"{name.replace('[', '[[]', 1)}:*"


def _own_names(host: str) -> Sequence[str]:
    """Return the names and addresses of this machine, and the one that the server is bound to."""
    name = socket.gethostname()
    names = [name, name.partition(".")[0], socket.getfqdn()]
    addresses = [entry.address for entries in psutil.net_if_addrs().values() for entry in entries]
    for text in (host, *addresses):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:  # a name, a hardware address, or an address of one network interface
            names += [text] if text == host else []
            continue
        if not (address.is_unspecified or address.is_loopback or address.is_link_local):
            names.append(f"[{address}]" if address.version == 6 else str(address))
    return sorted({found.lower() for found in names if found})
