"""Where a training's run is on a server."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from mergershift.core.checkout import main_checkout
from mergershift.tracking.server import SQLITE

TRAINING_TAG = "mergershift.training"
"""Tag that holds a training's own id, by which its run is found on any server."""


def find(client: MlflowClient, experiment_id: str, training: str) -> Run | None:
    """The run of a training, also a deleted one where there is no other."""
    found = client.search_runs(
        [experiment_id], f"tags.`{TRAINING_TAG}` = '{training}'", run_view_type=ViewType.ALL
    )
    order = sorted(found, key=lambda run: (deleted(run), run.info.start_time, run.info.run_id))
    for double in order[1:]:
        # A request that the server took although its answer was lost may have been sent a second time.
        if not deleted(double):
            client.delete_run(double.info.run_id)
    return order[0] if order else None


def deleted(run: Run) -> bool:
    """Whether somebody has deleted the run."""
    return bool(run.info.lifecycle_stage == "deleted")


def experiment_id(client: MlflowClient, address: str, name: str, *, restore: bool) -> str | None:
    """The id of the experiment with this name, which is made where it is not there.

    One that somebody has deleted is left so, with all its runs, and None returned, unless `restore`.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        local = address.startswith(SQLITE)
        where = (main_checkout() / "mlartifacts").as_uri() if local else None
        try:
            return str(client.create_experiment(name, artifact_location=where))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another process was quicker
        if found is None:
            raise MlflowException(f"the experiment {name} is there and cannot be found")
    if found.lifecycle_stage == "deleted":
        if not restore:
            return None
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
