"""MLflow's server as a process: where it listens, whom it answers, its command, and its end with all its workers."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import psutil
import requests

from mergershift.core.errors import UserError
from mergershift.core.processes import ENDS_WITH, end_processes, environment, variable_of
from mergershift.tracking.server import PROBE_TIMEOUT

_SCHEMES = ("http", "https")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# What MLflow itself allows if nothing else is configured (mlflow/server/security_utils.py).
_PRIVATE = ("192.168.*", "10.*", *(f"172.{number}.*" for number in range(16, 32)), "fc00:*", "fd00:*")

_POLL_SECONDS = 0.2
_DEFAULTS = {"UVICORN_ACCESS_LOG": "false", "UVICORN_LOG_LEVEL": "warning", "PGCONNECT_TIMEOUT": "10"}
"""Variables with which MLflow's server does not print every request, and answers within seconds although its
PostgreSQL does not; a user's own take precedence."""


def host_names(text: str | None) -> tuple[str, ...]:
    """Return the names of a list that is separated by commas; none for no text."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@dataclass(frozen=True)
class Serving:
    """Where MLflow's server listens, and by which names it is reached."""

    host: str
    port: int
    allowed_hosts: tuple[str, ...] = ()
    """Names by which browsers reach this machine, in addition to its own; with wildcards, as MLflow takes them."""
    static_prefix: str | None = None
    further: tuple[str, ...] = ()
    """Further options of `mlflow server`."""
    workers: int = 1
    """Number of processes that answer requests."""

    @property
    def shown(self) -> str:
        """Address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.static_prefix or ''}"


def run_server(
    serving: Serving,
    command: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    lines: Sequence[str],
    output: IO[str] | None = None,
) -> None:
    """Run MLflow's server until it is interrupted, and print `lines` as soon as it answers.

    Args:
        serving: where it listens.
        command: its command line.
        variables: its environment, in addition to this process's.
        folder: its working directory.
        lines: what to print.
        output: where these lines and the server's own messages go; None: standard output.

    Raises UserError if the server ends by itself.
    """
    own = environment() | dict(variables)
    print("Starting MLflow's server ...", file=output, flush=True)
    server = subprocess.Popen(list(command), env=own, cwd=folder, stdout=output)
    try:
        while server.poll() is None and not _answers(serving):
            time.sleep(_POLL_SECONDS)
        if server.poll() is None:
            print("\n".join(lines), file=output, flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("MLflow's server is being stopped.", file=output, flush=True)
        return
    finally:
        # MLflow's command runs the server as a process of its own, which would survive it.
        end_processes(lambda process: variable_of(process, ENDS_WITH) == own[ENDS_WITH])
        server.wait()
    if server.returncode:
        ended = f"stopped with exit code {server.returncode}"
        if server.returncode < 0:
            ended = f"was ended by signal {-server.returncode}"
        raise UserError(
            f"MLflow's server {ended}.\nSee its message above; `mlflow server --help` lists its options."
        )


def require_free_port(serving: Serving, command: str) -> None:
    """Raise UserError if a server cannot listen on the port; `command` is the one that wants to."""
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
                f"port {serving.port} of {serving.host} is in use, perhaps by another `{command}`.\n"
                f"Stop that program, or choose another port: {command} --port {serving.port % 65535 + 1}."
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


def server_command(serving: Serving, store: Sequence[str]) -> list[str]:
    """Return the command line of MLflow's server; the user's own options come last and override the others.

    Args:
        serving: where the server listens.
        store: options about where files are kept; other users can read them, as all of the command line.
    """
    prefix = ["--static-prefix", serving.static_prefix] if serving.static_prefix else []
    where = ["--host", serving.host, "--port", str(serving.port), *prefix]
    workers = ["--workers", str(serving.workers)]
    return [sys.executable, "-m", "mlflow", "server", *store, *workers, *where, *serving.further]


def server_environment(serving: Serving, address: str) -> dict[str, str]:
    """Return the variables by which MLflow's server is configured, since other users can read command lines.

    MLflow answers only requests to hosts that it was given, and without any to this machine's loopback and private
    addresses; a page that changes something, or searches, also has to come from a host that it was given.

    Args:
        serving: where the server listens.
        address: address of the database.
    """
    variables = {name: os.environ.get(name, value) for name, value in _DEFAULTS.items()}
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
