"""Models of runs, as MLflow's pages list them: entries with files of their own, linked to the run."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run

from mergershift.tracking.artifact_store import store_at
from mergershift.tracking.failures import check_store, reaching_store


def link_model(client: MlflowClient, address: str, run: Run, name: str, folder: Path) -> LoggedModel:
    """Store the MLflow model in `folder` as a model of a run, the one of this name if it exists; returns its entry.

    Its files are stored anew in either case, since those of an existing entry may be incomplete or lost. An entry
    without files is not left behind.
    """
    experiment, run_id = run.info.experiment_id, run.info.run_id
    wanted = f"name = '{name}' AND source_run_id = '{run_id}'"
    model = next(iter(client.search_logged_models([experiment], wanted)), None)
    ready = model is not None and model.status == LoggedModelStatus.READY
    check_store(address, run.info.artifact_uri)
    if model is None:
        model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    try:
        with reaching_store("the model's files could not be stored"):
            store_at(client, model.artifact_location).log_artifacts(str(folder))
    except BaseException:
        if not ready:
            client.delete_logged_model(model.model_id)
        raise
    if ready:
        return model
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
