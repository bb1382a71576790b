"""Models of runs, as MLflow's pages list them: entries with files of their own, linked to the run."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException

from mergershift.tracking.artifact_store import located, store_at
from mergershift.tracking.failures import check_store, reaching_store


def store_model(
    client: MlflowClient, address: str, run: Run, name: str, folder: Path
) -> tuple[str, str | None]:
    """Store the MLflow model in `folder` with its run, as one of the run's models, of this name.

    On a server before MLflow 3, whose runs have no models, it becomes a folder among the run's files. Returns the
    address of the model's files, and the id of the run's model.
    """
    check_store(address, run.info.artifact_uri)
    try:
        model = _linked(client, run, name, folder)
    except MlflowException as error:
        if error.error_code != "ENDPOINT_NOT_FOUND":
            raise
        path = f"models/{name}"
        with reaching_store("the model's files could not be stored"):
            store_at(client, run.info.artifact_uri).log_artifacts(str(folder), path)
        return f"{located(address, run.info.artifact_uri)}/{path}", None
    return model.artifact_location, model.model_id


def _linked(client: MlflowClient, run: Run, name: str, folder: Path) -> LoggedModel:
    """Store the files as a model of the run: the one of this name, or else a new one.

    The files of an existing one are stored anew, since they may be incomplete or lost. A model without files is not
    left behind.
    """
    experiment, run_id = run.info.experiment_id, run.info.run_id
    wanted = f"name = '{name}' AND source_run_id = '{run_id}'"
    model = next(iter(client.search_logged_models([experiment], wanted)), None)
    ready = model is not None and model.status == LoggedModelStatus.READY
    if model is None:
        model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    try:
        store_files(client, model, folder)
    except BaseException:
        if not ready:
            client.delete_logged_model(model.model_id)
        raise
    if ready:
        return model
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def store_files(client: MlflowClient, model: LoggedModel, folder: Path) -> None:
    """Store the files in `folder` as those of a run's model."""
    check_store(client.tracking_uri, model.artifact_location)
    with reaching_store("the model's files could not be stored"):
        store_at(client, model.artifact_location).log_artifacts(str(folder))
