"""A real team's server on the loopback interface, and requests that people send to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from mlflow import MlflowClient

from mergershift.tracking.accounts import Accounts
from mergershift.tracking.server_settings import PASSWORD, write_settings

SMALL = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "pytorch_lightning", "geomloss", "dvc", "submitit"):
            raise ModuleNotFoundError(f"{name} is not installed in the server's container", name=name)

sys.meta_path.insert(0, Missing())
"""
"""As sitecustomize.py, makes an interpreter like that of the server's container."""
PEOPLE = {"rea": "reader", "ana": "editor", "eve": "editor", "max": "maintainer"}


def secret(name: str) -> str:
    """Password of one of the people."""
    return f"password of {name}"


def experiment_of(client: MlflowClient) -> str:
    """Id of the team's experiment."""
    found = client.get_experiment_by_name("mergershift")
    assert found is not None
    return str(found.experiment_id)


class TeamServer:
    """`mergershift server` with its files in `folder`; its port and passwords stay the same across restarts."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        self.folder, self.options = folder, options
        self.settings = write_settings(folder / "server")
        known = dict(line.split("=", 1) for line in self.settings.read_text().splitlines() if "=" in line)
        self.password = known[PASSWORD]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "small").mkdir(exist_ok=True)
        (folder / "small/sitecustomize.py").write_text(SMALL)
        own = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        self.environment = own | {"PYTHONPATH": str(folder / "small")} | variables
        self.process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run another command of mergershift outside of a checkout, with packages as in the server's container."""
        return subprocess.run(
            [sys.executable, "-m", "mergershift", *arguments],
            env=self.environment | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        where = ["--settings", str(self.settings), "--port", str(self.port), *self.options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mergershift", "server", *where],
            env=self.environment,
            cwd=self.folder,
            stderr=(self.folder / "log").open("a"),
            text=True,
        )
        for _ in range(1800):
            try:
                requests.get(f"{self.address}/health", timeout=1)
                return
            except requests.RequestException:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def processes(self) -> list[psutil.Process]:
        """The server's processes."""
        assert self.process is not None
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self) -> float:
        """Send SIGTERM; returns how many seconds it took until no process was left."""
        assert self.process is not None
        processes, begun = self.processes(), time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(processes, timeout=90)
        for process in left:
            process.kill()
        assert not left
        assert self.process.wait(20) == 0
        return time.monotonic() - begun

    def ask(self, user: str | None, method: str, path: str, **content: Any) -> requests.Response:
        """Send a request with the credentials of a user, or without any."""
        password = self.password if user == "admin" else secret(user or "")
        credentials = None if user is None else (user, password)
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, f"{self.address}{path}", auth=credentials, timeout=30, **content)

    def sign_in(self, patch: pytest.MonkeyPatch, user: str) -> None:
        """Let this process's own clients use the server as this user."""
        patch.setenv("MLFLOW_TRACKING_URI", self.address)
        patch.setenv("MLFLOW_TRACKING_USERNAME", user)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", self.password if user == "admin" else secret(user))

    def welcome(self) -> None:
        """Prepare the server, and add all people."""
        with pytest.MonkeyPatch.context() as patch:
            self.sign_in(patch, "admin")
            accounts = Accounts(self.address)
            accounts.prepare("mergershift", "mergershift", {"mergershift_candidates": "candidates"})
            for name, role in PEOPLE.items():
                accounts.put(name, role, secret(name))
