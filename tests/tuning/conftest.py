"""A PostgreSQL server for the tests, on the loopback interface."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest


def _tool(name: str) -> str | None:
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name)


@pytest.fixture
def postgresql(tmp_path_factory):
    """Address of an empty database on its own server; skips the test if PostgreSQL is not installed."""
    initdb, server, createdb = _tool("initdb"), _tool("pg_ctl"), _tool("createdb")
    if initdb is None or server is None or createdb is None:
        pytest.skip("PostgreSQL's server is not installed (initdb, pg_ctl, createdb)")
    folder = tmp_path_factory.mktemp("postgresql")
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        # other users cannot read pytest's folders
        folder = Path(subprocess.check_output(["mktemp", "-d", "/tmp/pgtest.XXXXXX"], text=True).strip())
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(*command):
        subprocess.run(
            [*as_user, *command],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    data = str(folder / "data")
    run(initdb, "-D", data, "-U", "tuner", "--auth=trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(server, "-D", data, "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        run(createdb, "-h", "127.0.0.1", "-p", port, "-U", "tuner", "studies")
        yield f"postgresql+psycopg://tuner@127.0.0.1:{port}/studies"
    finally:
        run(server, "-D", data, "-m", "immediate", "stop")
        if as_user:
            shutil.rmtree(folder)
