"""Serve MLflow's own web interface for the checkout's database."""

from __future__ import annotations

import subprocess
import sys

from mergershift.config import compose
from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.tracking.server import public, set_defaults, tracking_address


def serve_ui(host: str, port: int) -> None:
    """Serve MLflow's web interface for the tracking database until interrupted.

    If the runs are on a tracking server, print its address instead. Raises UserError if MLflow's server fails.
    """
    address = tracking_address(compose().tracking.uri)
    if not address.startswith("sqlite:"):
        print(f"The runs are on a tracking server: {public(address)}")
        return
    print(f"MLflow runs at http://{host}:{port} (stop it with Ctrl-C)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address, "--workers", "1"]
    artifacts = ["--default-artifact-root", str(main_checkout() / "mlartifacts")]
    set_defaults()
    variables = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    done = subprocess.run([*command, *artifacts, "--host", host, "--port", str(port)], env=variables)
    if done.returncode > 0:
        raise UserError(f"MLflow's server stopped with exit code {done.returncode}; see its message above.")
