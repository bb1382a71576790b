"""A real MLflow server on the loopback interface that can be stopped and restarted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ADMIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "an admin's password"}
"""Variables of a client that logs in to a server with logins."""


class Server:
    """A server with its artifacts in `folder`; its port stays the same across restarts.

    Args:
        folder: the server's own folder.
        store: address of its database; a file in the folder by default.
        logins: address of a database of users; without it, the server asks for no login.
    """

    def __init__(self, folder: Path, store: str | None = None, logins: str | None = None) -> None:
        self._folder, self._logins = folder, logins
        self._store = store or f"sqlite:///{folder}/server.db"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        store = ["--backend-store-uri", self._store]
        artifacts = ["--artifacts-destination", str(self._folder / "artifacts")]
        self._process = subprocess.Popen(
            [*command, "--workers", "1", *store, *artifacts, *self._login()],
            env=os.environ | self._variables(),
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError("the MLflow server did not start within a minute")

    def _login(self) -> list[str]:
        if self._logins is None:
            return []
        (self._folder / "login.ini").write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {self._logins}\n"
            f"admin_username = {ADMIN['MLFLOW_TRACKING_USERNAME']}\n"
            f"admin_password = {ADMIN['MLFLOW_TRACKING_PASSWORD']}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
            "auth_cache_ttl_seconds = 60\n"  # a login takes a fifth of a second of computing
        )
        return ["--app-name", "basic-auth"]

    def _variables(self) -> dict[str, str]:
        variables = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if self._logins is not None:
            variables["MLFLOW_AUTH_CONFIG_PATH"] = str(self._folder / "login.ini")
            variables["MLFLOW_FLASK_SERVER_SECRET_KEY"] = "a key of the tests"
        return variables

    def stop(self) -> None:
        """Kill the server and all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait(20)
            self._process = None
