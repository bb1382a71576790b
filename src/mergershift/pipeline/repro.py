"""Starts DVC and MLflow's pages, the way they need it here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from mergershift.archive import available
from mergershift.config import compose
from mergershift.config.study import read_study
from mergershift.core.checkout import main_checkout, root
from mergershift.core.errors import UserError


def repro(arguments: Sequence[str] = (), jobs: int = 1) -> None:
    """`dvc repro`, after a look whether there is anything to run it on; then the transfer table.

    With `jobs` above 1 that many cells run at the same time. Raises UserError where the archive lacks a filter set
    of the study, and where a stage failed.
    """
    if jobs > 1 and arguments:
        raise UserError(
            f"--jobs {jobs} runs the whole pipeline and takes nothing else, found: {' '.join(arguments)}.\n"
            "Leave that out, or leave --jobs out."
        )
    _look_at_archive()
    if jobs > 1:
        from mergershift.pipeline import parallel

        parallel.repro(jobs)
    else:
        dvc_repro(arguments)
    if "--dry" not in arguments:
        from mergershift.stages.summary import print_summary

        print_summary()


def dvc_repro(arguments: Sequence[str] = ()) -> None:
    """Run `dvc repro` with these arguments; raises UserError where a stage failed."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro", *arguments], cwd=root(), env=environment())
    if done.returncode:
        raise UserError(
            "The pipeline stopped; the stage and its error stand above.\n"
            "What was finished is kept: mend it and give the command again."
        )


def environment() -> dict[str, str]:
    """Stages call `mergershift`; they shall find the one that is running, activated environment or not."""
    return os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ.get('PATH', '')}"}


def _look_at_archive() -> None:
    folder = root() / "data"
    study = read_study()
    present = {each.filter_set.name for each in available(folder)} if folder.is_dir() else set()
    missing = [name for name in study.filters if name not in present]
    if missing and not present:
        raise UserError(
            "data/: no archive here yet.\nType `mergershift data mock` for a mock archive, "
            "or `mergershift data fetch` for the published one."
        )
    if missing:
        raise UserError(
            f"data/: no {' and '.join(missing)}-filter set, which conf/study.yaml asks for.\n"
            f"Fetch it, or let `filters:` there list {', '.join(sorted(present))} only."
        )


def serve_ui(host: str, port: int) -> None:
    """Serve MLflow's pages on the tracking database until interrupted."""
    from mergershift.tracking import public, tracking_address

    address = tracking_address(compose().tracking.uri)
    if not address.startswith("sqlite:"):
        print(f"The runs are on a server of their own: {public(address)}")
        return
    print(f"MLflow on http://{host}:{port} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", address, "--workers", "1"]
    artifacts = ["--default-artifact-root", str(main_checkout() / "mlartifacts")]
    variables = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    done = subprocess.run([*command, *artifacts, "--host", host, "--port", str(port)], env=variables)
    if done.returncode > 0:
        raise UserError(f"MLflow's server ended with exit code {done.returncode}; its message stands above.")
