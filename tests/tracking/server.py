"""A real MLflow server on the loopback interface that can be stopped and restarted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


class Server:
    """A server with its database and artifacts in `folder`; its port stays the same across restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        store = ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        artifacts = ["--artifacts-destination", str(self._folder / "artifacts")]
        self._process = subprocess.Popen(
            [*command, "--workers", "1", *store, *artifacts],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
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

    def stop(self) -> None:
        """Kill the server and all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, 9)
            self._process.wait(20)
            self._process = None
