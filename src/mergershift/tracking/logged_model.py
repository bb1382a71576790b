"""The model of a run: the classifier of the epoch that an evaluation chose, linked to the run in MLflow's pages."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric, Run

from mergershift.cells.records import RunModel, RunSpec
from mergershift.tracking.data_sets import data_inputs
from mergershift.tracking.linked_model import store_files
from mergershift.tracking.presentation import TRAINING_TAG, method_title, metric_name, parameters

MODEL_TAG = "mlflow.mergershift.model"
"""Tag of a run with a digest of the evaluation that chose its model."""
TYPE = "classifier"
_SHOWN = ("balanced_accuracy", "auc")


def replace_model(
    client: MlflowClient,
    run: Run,
    spec: RunSpec,
    model: RunModel,
    metrics: Mapping[str, tuple[float, int]],
) -> None:
    """Log a model of a run with its scores by data set, and then delete those that it replaces.

    An unfinished model, as a killed process leaves it, is replaced, too. Models that were logged in another way stay.

    Args:
        client: client of the server.
        run: the run.
        spec: facts of the run.
        model: the classifier and its files.
        metrics: final metrics of the run as (value, time), by their names in the record and the evaluation.
    """
    before = _models(client, run)
    created = client.create_logged_model(
        run.info.experiment_id,
        name=_name(spec, model),
        source_run_id=run.info.run_id,
        tags={TRAINING_TAG: spec.training},
        params={**parameters(spec), "epoch": str(model.epoch)},
        model_type=TYPE,
    )
    _store(client, created, model.files)
    client.finalize_logged_model(created.model_id, "READY")
    client.log_outputs(run.info.run_id, [LoggedModelOutput(created.model_id, model.epoch)])
    scores = _scores(run.info.run_id, created.model_id, spec, metrics)
    if scores:
        client.log_batch(run.info.run_id, metrics=scores)
    for former in before:
        client.delete_logged_model(former.model_id)


def _name(spec: RunSpec, model: RunModel) -> str:
    filters = spec.config.get("filters", {}).get("name", "")
    name = "-".join(part for part in (method_title(spec), filters, f"epoch{model.epoch}") if part)
    return "".join("-" if character in "/:.%\"'" else character for character in name)


def _models(client: MlflowClient, run: Run) -> list[LoggedModel]:
    found = client.search_logged_models(
        [run.info.experiment_id],
        f"source_run_id = '{run.info.run_id}' AND tags.`{TRAINING_TAG}` LIKE '%'",
    )
    return list(found)


def _store(client: MlflowClient, model: LoggedModel, files: Mapping[str, Path]) -> None:
    with TemporaryDirectory(prefix="mergershift-") as temporary:
        for name, path in files.items():
            shutil.copyfile(path, Path(temporary) / name)
        store_files(client, model, Path(temporary))


def _scores(
    run_id: str, model_id: str, spec: RunSpec, metrics: Mapping[str, tuple[float, int]]
) -> list[Metric]:
    """Return the scores of the run, as they are, with the model and the test that they are of."""
    inputs = data_inputs(spec, evaluated=True)
    found = []
    for role in ("source", "target"):
        for score in _SHOWN:
            plain = f"{role}.unique.{score}"
            name = metric_name(plain)
            if name is not None and plain in metrics and f"{role} test" in inputs:
                value, time_of_value = metrics[plain]
                tested = inputs[f"{role} test"].dataset
                found.append(
                    Metric(
                        name,
                        value,
                        time_of_value,
                        0,
                        model_id=model_id,
                        dataset_name=tested.name,
                        dataset_digest=tested.digest,
                        run_id=run_id,
                    )
                )
    return found
