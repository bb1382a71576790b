"""Find the run of a training, and its experiment, on an MLflow server."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from mergershift.tracking.artifact_store import new_experiment_location

TRAINING_TAG = "mergershift.training"
"""Tag with the training's own id, by which its run is found on any server."""


def find(client: MlflowClient, experiment_id: str, training: str) -> Run | None:
    """Return the run of a training; a deleted run only if there is no active one, None if there is none at all.

    Deletes duplicate runs of the training.
    """
    found = client.search_runs(
        [experiment_id], f"tags.`{TRAINING_TAG}` = '{training}'", run_view_type=ViewType.ALL
    )
    order = sorted(found, key=lambda run: (deleted(run), run.info.start_time, run.info.run_id))
    for duplicate in order[1:]:
        # If the server's answer was lost, the client may have sent the request to create the run twice.
        if not deleted(duplicate):
            client.delete_run(duplicate.info.run_id)
    return order[0] if order else None


def deleted(run: Run) -> bool:
    """Return whether the run has been deleted."""
    return bool(run.info.lifecycle_stage == "deleted")


def experiment_id(client: MlflowClient, address: str, name: str, *, restore: bool) -> str | None:
    """Return the id of the experiment with this name, creating the experiment if it does not exist.

    A deleted experiment is restored, with all its runs, only if `restore` is set; otherwise the result is None.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=new_experiment_location(address)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another process created it first
        if found is None:
            raise MlflowException(f"the experiment {name} exists but cannot be found")
    if found.lifecycle_stage == "deleted":
        if not restore:
            return None
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)
