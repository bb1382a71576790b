"""Serve MLflow's own web interface for the checkout's database."""

from __future__ import annotations

import subprocess
import sys

from mergershift.config import compose
from mergershift.core.checkout import enclosing
from mergershift.core.database_files import sqlite_address, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.tracking.artifact_store import new_experiment_location
from mergershift.tracking.server import answering, connect, public, set_defaults, tracking_address


def serve_ui(host: str, port: int) -> None:
    """Serve MLflow's web interface for the tracking database until interrupted.

    If the runs are on a tracking server, print its address instead. Raises UserError if MLflow's server fails.
    """
    address = tracking_address(compose().tracking.uri)
    path, artifacts = sqlite_path(address), new_experiment_location(address)
    if path is None or artifacts is None:
        print(f"The runs are on a tracking server: {public(address)}")
        return
    with answering():
        connect(address)  # which updates addresses from before the checkout was moved
    folder = enclosing(path.parent) or path.parent
    # A relative path contains no characters that MLflow would take for a part of the address.
    store = sqlite_address(path.relative_to(folder))
    print(f"MLflow runs at http://{host}:{port} (stop it with Ctrl-C)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--default-artifact-root", artifacts, "--host", host, "--port", str(port)]
    set_defaults()
    variables = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    done = subprocess.run(command, env=variables, cwd=folder)
    if done.returncode > 0:
        raise UserError(f"MLflow's server stopped with exit code {done.returncode}; see its message above.")
