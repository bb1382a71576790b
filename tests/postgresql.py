"""A PostgreSQL server for the tests, on the loopback interface."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _tool(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


class PostgreSQL:
    """A server with databases of its own; it can be killed and started again, as by an outage."""

    def __init__(self, folder: Path, port: int, as_user: list[str]) -> None:
        initdb, server, createdb = _tool("initdb"), _tool("pg_ctl"), _tool("createdb")
        if initdb is None or server is None or createdb is None:
            pytest.skip("PostgreSQL's server is not installed (initdb, pg_ctl, createdb)")
        self._folder, self._port, self._as_user = folder, str(port), as_user
        self._server, self._createdb = server, createdb
        self._running = False
        self._run(initdb, "-D", str(folder / "data"), "-U", "tuner", "--auth=trust", "--no-sync")

    def address(self, database: str) -> str:
        """Address of a database, as SQLAlchemy takes it."""
        return f"postgresql+psycopg://tuner@127.0.0.1:{self._port}/{database}"

    def create(self, database: str) -> str:
        """Create an empty database; returns its address."""
        self._run(self._createdb, "-h", "127.0.0.1", "-p", self._port, "-U", "tuner", database)
        return self.address(database)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self._control("-w", "-o", f"{options} -c fsync=off", "-l", log, "start")
        self._running = True

    def kill(self) -> None:
        """End the server at once, without a word to its clients, unless it has ended already."""
        if self._running:
            self._control("-m", "immediate", "stop")
        self._running = False

    def restart(self) -> None:
        """End all sessions and begin again at once, as after a change of the server's configuration."""
        self._control("-w", "-m", "fast", "-l", str(self._folder / "log"), "restart")

    def _control(self, *arguments: str) -> None:
        self._run(self._server, "-D", str(self._folder / "data"), *arguments)

    def _run(self, *command: str) -> None:
        subprocess.run(
            [*self._as_user, *command],
            check=True,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


@contextmanager
def postgresql_server(folder: Path) -> Iterator[PostgreSQL]:
    """Run a server whose files are in `folder`; skips the test if PostgreSQL is not installed."""
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        # other users cannot read pytest's folders
        folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/pgtest.XXXXXX"], text=True).strip())
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    try:
        server = PostgreSQL(folder, port, as_user)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        if as_user:
            shutil.rmtree(folder)
