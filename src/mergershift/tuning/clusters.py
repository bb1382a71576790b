"""Searches whose workers run on a cluster: what that requires, and who follows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import optuna

from mergershift.config.launcher import LauncherConfig, read_launcher
from mergershift.core.checkout import workspace
from mergershift.core.errors import UserError
from mergershift.core.files import exclusive_lock
from mergershift.launching.slurm import Slurm
from mergershift.tracking import tracking_address
from mergershift.tuning.launcher import Cluster
from mergershift.tuning.objective import study_folder
from mergershift.tuning.storage import Search, address, printable


def launcher_for(search: Search, name: str) -> LauncherConfig:
    """Read what a cluster in conf/launcher/ is asked for; prints a warning if the runs are recorded in a file.

    Raises UserError if there is no such cluster, and if the study is in a file: several nodes cannot share it, since
    locks fail on network file systems.
    """
    launcher = read_launcher(name)
    url = address(search.tuning)
    if url.startswith("sqlite"):
        raise UserError(
            f"{printable(url)}: workers on a cluster need a study in PostgreSQL, which all nodes can reach.\n"
            "Add tuning.storage=postgresql+psycopg://USER@HOST/DATABASE; its password belongs in ~/.pgpass (mode 600)."
        )
    tracking = tracking_address(search.config.tracking.uri)
    if tracking.startswith("sqlite"):
        print(
            f"All workers record their runs in {printable(tracking)}: with more than one node, set MLFLOW_TRACKING_URI "
            "to a server.",
            file=sys.stderr,
            flush=True,
        )
    return launcher


@contextmanager
def followed(study: optuna.Study, name: str, config: LauncherConfig, *, attach: bool) -> Iterator[Cluster]:
    """Follow the workers of a study on a cluster; while this context is open, no other command does.

    Args:
        study: the study.
        name: name of the cluster.
        config: what each worker asks it for.
        attach: whether only workers of an earlier command are followed.

    Raises UserError if this machine cannot submit jobs, and if another command follows the same workers.
    """
    jobs = workspace() / "state" / "cluster" / "jobs" / f"tune-{study_folder(study).name}"
    launcher = Slurm(config, jobs)
    refusal = "another command follows the workers of this search.\nWait for it, or stop it with Ctrl-C."
    with exclusive_lock(jobs.with_name(f"{jobs.name}.lock"), refusal):
        yield Cluster(name, launcher, attach)
