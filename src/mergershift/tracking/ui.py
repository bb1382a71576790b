"""Serves MLflow's own pages on the checkout's database."""

from __future__ import annotations

import subprocess
import sys

from mergershift.config import compose
from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError
from mergershift.core.processes import environment
from mergershift.tracking.server import public, set_defaults, tracking_address


def serve_ui(host: str, port: int) -> None:
    """Serve MLflow's pages on the tracking database until interrupted."""
    address = tracking_address(compose().tracking.uri)
    if not address.startswith("sqlite:"):
        print(f"The runs are on a server of their own: {public(address)}")
        return
    print(f"MLflow on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address, "--workers", "1"]
    artifacts = ["--default-artifact-root", str(main_checkout() / "mlartifacts")]
    set_defaults()
    variables = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    done = subprocess.run([*command, *artifacts, "--host", host, "--port", str(port)], env=variables)
    if done.returncode > 0:
        raise UserError(f"MLflow's server ended with exit code {done.returncode}; its message stands above.")
