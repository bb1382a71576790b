"""Models of runs, as MLflow's pages list them: entries with files of their own, linked to the run."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run

from mergershift.tracking.artifact_store import store_at
from mergershift.tracking.failures import check_store, reaching_store


def link_model(client: MlflowClient, address: str, run: Run, name: str, folder: Path) -> LoggedModel:
    """Store the MLflow model in `folder` as a model of a run; returns the entry, an existing one of this name first.

    An entry whose upload was interrupted is completed; one whose files cannot be stored is removed.
    """
    experiment, run_id = run.info.experiment_id, run.info.run_id
    wanted = f"name = '{name}' AND source_run_id = '{run_id}'"
    model = next(iter(client.search_logged_models([experiment], wanted)), None)
    if model is not None and model.status == LoggedModelStatus.READY:
        return model
    check_store(address, run.info.artifact_uri)
    if model is None:
        model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    try:
        with reaching_store("the model's files could not be stored"):
            store_at(client, model.artifact_location).log_artifacts(str(folder))
    except BaseException:
        client.delete_logged_model(model.model_id)
        raise
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
