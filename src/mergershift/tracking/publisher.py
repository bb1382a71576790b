"""Finished trainings, as their folders describe them, brought to a server."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mergershift.tracking.find_run import deleted, find
from mergershift.tracking.published_run import Opening, Published, find_or_make
from mergershift.tracking.runs import LATER, drawn
from mergershift.tracking.server import answering, connect, first_line, reach, tolerating

logger = logging.getLogger(__name__)

Outcome = Literal["published", "complete", "deleted"]


class Refused(Exception):
    """The server answers, and does not take what it is given."""


@dataclass(frozen=True)
class Finished:
    """All that the run of a finished training holds. Times are milliseconds since 1970."""

    opening: Opening
    status: str
    """FINISHED, FAILED or KILLED."""
    ended: int
    epochs: Sequence[Mapping[str, float]]
    times: Mapping[int, int]
    """When each epoch was made, where that is known."""
    metrics: Mapping[str, tuple[float, int]]
    """Final figures, each with the time it was made."""
    files: Mapping[str, bytes]
    """By their paths in the run."""


class Publisher:
    """Brings finished trainings to the server at `address`; raises UserError where it does not answer."""

    def __init__(self, address: str) -> None:
        self._address = address
        with answering():
            reach(address)
            self._client = connect(address)

    def publish(self, finished: Finished) -> Outcome:
        """Bring what the training's run lacks: published, or complete before, or deleted there and left so.

        Raises Refused where the server does not take it.
        """
        with answering():
            try:
                return _publish(self._client, self._address, finished)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise Refused(first_line(error)) from error
                raise


def tell(address: str, finished: Finished) -> None:
    """Bring what a training's run lacks; a server that does not answer costs seconds and a warning."""
    with tolerating(address, f"{finished.opening.name} is on disk; {LATER}"):
        reach(address)
        _publish(connect(address, brief=True), address, finished)


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
                Published(client, run).files(drawn(some, folder))


def _publish(client: MlflowClient, address: str, finished: Finished) -> Outcome:
    published = find_or_make(client, address, finished.opening)
    if published is None:
        return "deleted"
    published.epochs(finished.epochs, finished.times, finished.ended)
    published.metrics(finished.metrics)
    published.files(finished.files)
    published.end(finished.status, finished.ended)
    return "published" if published.changed else "complete"
