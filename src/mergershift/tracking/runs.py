"""One MLflow run for each training, across any number of interruptions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from mergershift.project import main_checkout
from mergershift.tracking.server import DATABASE, NO_ANSWER, answering, connect, first_line

logger = logging.getLogger(__name__)

TRAINING_TAG = "mergershift.training"
"""Tag that holds a training's own id, by which an interrupted one finds its run again."""


def _experiment(client: MlflowClient, address: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    local = address.startswith("sqlite:")
    where = (main_checkout() / "mlartifacts").as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=where))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


class Run:
    """An MLflow run that can be written to again and again without doubling anything."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id
        self._logged: set[int] | None = None

    def log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the figures of those epochs that the run does not have yet.

        A tracking server that does not answer costs a warning: the next epoch brings what is missing.
        """
        try:
            self._log_epochs(epochs)
        except NO_ANSWER as error:
            logger.warning("MLflow does not answer; its run gets this epoch later (%s)", first_line(error))

    def _log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        if self._logged is None:
            history = self._client.get_metric_history(self.run_id, "source_val_loss")
            self._logged = {metric.step for metric in history}
        for figures in epochs:
            epoch = int(figures["epoch"])
            if epoch in self._logged:
                continue
            now = int(time.time() * 1000)
            metrics = [Metric(name, value, now, epoch) for name, value in figures.items() if name != "epoch"]
            self._client.log_batch(self.run_id, metrics=metrics)
            self._logged.add(epoch)

    def log_text(self, text: str, name: str) -> None:
        """Log a text as a file of the run."""
        with answering():
            self._client.log_text(self.run_id, text, name)

    def log_figures(self, figures: Mapping[str, Figure], folder: str = "figures") -> None:
        """Log matplotlib figures as PNG under `folder`."""
        with answering():
            for name, figure in figures.items():
                self._client.log_figure(self.run_id, figure, f"{folder}/{name}.png")

    def log_results(self, metrics: Mapping[str, float], files: Sequence[Path]) -> None:
        """Log final figures and files; raises UserError where the tracking server does not answer."""
        now = int(time.time() * 1000)
        with answering():
            known = self._client.get_run(self.run_id).data.metrics
            entries = [
                Metric(name, value, now, 0) for name, value in metrics.items() if known.get(name) != value
            ]
            self._client.log_batch(self.run_id, metrics=entries)
            for path in files:
                self._client.log_artifact(self.run_id, str(path))

    def finish(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log what is still missing and mark the run as finished; raises UserError if that does not succeed."""
        with answering():
            self._log_epochs(epochs)
            self._client.set_terminated(self.run_id, "FINISHED")


def open_run(
    address: str,
    experiment: str,
    training: str,
    name: str,
    config: Mapping[str, Any],
    tags: Mapping[str, str | None],
) -> Run:
    """Find the run of the training with id `training`, or make it with its parameters and tags.

    Raises UserError where the address does not answer.
    """
    with answering():
        # Two processes that meet an empty database would both create its tables.
        with FileLock(main_checkout() / f"{DATABASE}.lock"):
            client = connect(address)
            experiment_id = _experiment(client, address, experiment)
        found = client.search_runs([experiment_id], f"tags.`{TRAINING_TAG}` = '{training}'", max_results=1)
        if found:
            run_id = found[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            entries = {
                TRAINING_TAG: training,
                **{key: value for key, value in tags.items() if value is not None},
            }
            run_id = client.create_run(experiment_id, tags=entries, run_name=name).info.run_id
        # Equal parameters may be logged again; a kill just after create_run would have left the run without.
        client.log_batch(run_id, params=[Param(key, value[:6000]) for key, value in _flat(config)])
        client.log_dict(run_id, dict(config), "config.yaml")
    return Run(client, run_id)


def existing_run(address: str, run_id: str) -> Run | None:
    """The run with this id; None where the server does not know it or it was deleted."""
    with answering():
        client = connect(address)
        try:
            deleted = client.get_run(run_id).info.lifecycle_stage == "deleted"
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    return None if deleted else Run(client, run_id)


def abandon(address: str, training: str, experiment: str) -> None:
    """Mark the run of a training that will not be gone on with as killed, if there is one."""
    with answering():
        client = connect(address)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return
        for run in client.search_runs([found.experiment_id], f"tags.`{TRAINING_TAG}` = '{training}'"):
            client.set_terminated(run.info.run_id, "KILLED")
