"""Serve MLflow's own web interface for the checkout's database."""

from __future__ import annotations

import ipaddress
import re
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import psutil

from mergershift.config import compose
from mergershift.core.checkout import enclosing, main_checkout
from mergershift.core.database_files import sqlite_address, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.core.redaction import public
from mergershift.tracking.artifact_store import FOLDER
from mergershift.tracking.database import is_database
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.server import connect, set_defaults, tracking_address

_SCHEMES = ("http", "https")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# What MLflow itself allows if nothing else is configured (mlflow/server/security_utils.py).
_PRIVATE = ("192.168.*", "10.*", *(f"172.{number}.*" for number in range(16, 32)), "fc00:*", "fd00:*")


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


def serve_ui(serving: Serving) -> None:
    """Serve MLflow's web interface for the tracking database until interrupted.

    If the runs are on a tracking server, print its address instead. Raises UserError if that server or the database
    cannot be used, or if MLflow's server fails.
    """
    address = tracking_address(compose().tracking.uri)
    with answering(address):
        connect(address).search_experiments(max_results=1)
    if not is_database(address):
        print(f"The runs are on a tracking server: {public(address)}")
        return
    path = sqlite_path(address)
    folder = main_checkout() if path is None else enclosing(path.parent) or path.parent
    # A relative path contains no characters that MLflow would take for a part of the address.
    store = address if path is None else sqlite_address(path.relative_to(folder))
    print(f"MLflow runs at {serving.shown} (stop it with Ctrl-C)", flush=True)
    set_defaults()
    command = server_command(serving, (folder / FOLDER).as_uri())
    done = subprocess.run(command, env=environment() | server_environment(serving, store), cwd=folder)
    if done.returncode > 0:
        raise UserError(
            f"MLflow's server stopped with exit code {done.returncode}.\n"
            "See its message above; `mlflow server --help` lists its options."
        )


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
    variables = {"MLFLOW_BACKEND_STORE_URI": address, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
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
