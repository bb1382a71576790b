"""Publish finished trainings on an MLflow server, as their folders describe them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mergershift.cells.records import RunContent
from mergershift.core.errors import first_line
from mergershift.tracking.diagnosis import answering, tolerating
from mergershift.tracking.find_run import deleted, experiment_named, find
from mergershift.tracking.published_run import PublishedRun, find_or_make
from mergershift.tracking.runs import LATER, png_files
from mergershift.tracking.server import connect, reach

logger = logging.getLogger(__name__)

Outcome = Literal["published", "complete", "deleted"]


class RefusedByServer(Exception):
    """The server answers, but rejects the content of a run."""


class Publisher:
    """Publishes finished trainings on the server at `address`; raises UserError if it does not answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        with answering(address):
            reach(address)
            self._client = connect(address)

    def publish(self, content: RunContent) -> Outcome:
        """Add to the training's run on the server whatever it lacks, and return the outcome.

        "published": something was added; "complete": the run lacked nothing; "deleted": the run has been deleted on
        the server and stays deleted. Raises RefusedByServer if the server rejects the content.
        """
        with answering(self._address):
            try:
                return _publish(self._client, self._address, content)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise RefusedByServer(first_line(error)) from error
                raise


def publish(address: str, content: RunContent) -> None:
    """Add to a training's run whatever it lacks; if no server answers, warn after a few seconds."""
    with tolerating(address, f"{content.spec.name} is on disk; {LATER}"):
        reach(address)
        _publish(connect(address, brief=True), address, content)


def add_figures(
    address: str, figures: Mapping[tuple[str, str], Mapping[str, Figure]], folder: str, remedy: str
) -> None:
    """Log figures as PNG files under `folder` to the runs that the server knows.

    Args:
        address: address of the server or database (`tracking_address`).
        figures: figures by name, by the (experiment, training) that identifies the run.
        folder: path inside the run.
        remedy: end of the warning that is logged after a few seconds if no server answers.
    """
    with tolerating(address, remedy):
        reach(address)
        client = connect(address, brief=True)
        for (experiment, training), run_figures in figures.items():
            found = experiment_named(client, experiment)
            run = find(client, found.experiment_id, training) if found is not None else None
            if run is not None and not deleted(run):
                PublishedRun(client, run).files(png_files(run_figures, folder))


def _publish(client: MlflowClient, address: str, content: RunContent) -> Outcome:
    published = find_or_make(client, address, content.spec)
    if published is None:
        return "deleted"
    published.epochs(content.epochs, content.epoch_times, content.ended)
    published.metrics(content.metrics)
    published.files(content.files)
    published.end(content.status, content.ended)
    return "published" if published.changed else "complete"
