"""Finished trainings, as their folders describe them, brought to a server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mergershift.cells.records import RunContent
from mergershift.core.errors import first_line
from mergershift.tracking.find_run import deleted, find
from mergershift.tracking.published_run import PublishedRun, find_or_make
from mergershift.tracking.runs import LATER, drawn
from mergershift.tracking.server import answering, connect, reach, tolerating

logger = logging.getLogger(__name__)

Outcome = Literal["published", "complete", "deleted"]


class RefusedByServer(Exception):
    """The server answers, and does not take what it is given."""


class Publisher:
    """Brings finished trainings to the server at `address`; raises UserError where it does not answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        with answering():
            reach(address)
            self._client = connect(address)

    def publish(self, content: RunContent) -> Outcome:
        """Bring what the training's run lacks: published, or complete before, or deleted there and left so.

        Raises RefusedByServer where the server does not take it.
        """
        with answering():
            try:
                return _publish(self._client, self._address, content)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise RefusedByServer(first_line(error)) from error
                raise


def publish(address: str, content: RunContent) -> None:
    """Bring what a training's run lacks; a server that does not answer costs seconds and a warning."""
    with tolerating(address, f"{content.spec.name} is on disk; {LATER}"):
        reach(address)
        _publish(connect(address, brief=True), address, content)


def add_figures(
    address: str, figures: Mapping[tuple[str, str], Mapping[str, Figure]], folder: str, remedy: str
) -> None:
    """Log figures as PNG under `folder` to the runs, by (experiment, training), that the server knows.

    A server that does not answer costs seconds and a warning that ends with `remedy`.
    """
    with tolerating(address, remedy):
        reach(address)
        client = connect(address, brief=True)
        for (experiment, training), some in figures.items():
            home = client.get_experiment_by_name(experiment)
            run = find(client, home.experiment_id, training) if home is not None else None
            if run is not None and not deleted(run):
                PublishedRun(client, run).files(drawn(some, folder))


def _publish(client: MlflowClient, address: str, content: RunContent) -> Outcome:
    published = find_or_make(client, address, content.spec)
    if published is None:
        return "deleted"
    published.epochs(content.epochs, content.epoch_times, content.ended)
    published.metrics(content.metrics)
    published.files(content.files)
    published.end(content.status, content.ended)
    return "published" if published.changed else "complete"
