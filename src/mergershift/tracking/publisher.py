"""Publish finished trainings on an MLflow server, as their folders describe them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Literal

from mlflow.exceptions import MlflowException

from mergershift.cells.records import RunContent
from mergershift.core.errors import first_line
from mergershift.tracking import missed
from mergershift.tracking.diagnosis import answering, tolerating
from mergershift.tracking.find_or_make import find_or_make
from mergershift.tracking.find_run import RunFinder
from mergershift.tracking.presentation import kind_of
from mergershift.tracking.runs import LATER
from mergershift.tracking.server import connect, reach
from mergershift.tracking.views import write_views

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
            self._finder = RunFinder(connect(address), address)

    def publish(self, content: RunContent) -> Outcome:
        """Add to the training's run on the server whatever it lacks, and return the outcome.

        "published": something was added; "complete": the run lacked nothing; "deleted": the run has been deleted on
        the server and stays deleted. Raises RefusedByServer if the server rejects the content.
        """
        with answering(self._address):
            try:
                return _publish(self._finder, content)
            except MlflowException as error:
                if error.error_code == "INVALID_PARAMETER_VALUE":
                    raise RefusedByServer(first_line(error)) from error
                raise


def publish(address: str, begin: Callable[[], Iterable[RunContent]], what: str = "what they show") -> None:
    """Add to the runs of trainings whatever they lack; if no server answers, warn after a few seconds.

    What could not be published is remembered for `publish_missed`.

    Args:
        address: address of the server or database (`tracking_address`).
        begin: returns the content of the runs, those that others refer to first; called before the server is reached,
            and an error of it is a warning as well.
        what: name of the content, as the warning gives it.
    """
    with tolerating(address, f"{what} is on disk; {LATER}"):
        contents = begin()
        reach(address)
        finder = RunFinder(connect(address, brief=True), address)
        for content in contents:
            _publish(finder, content)
        return
    missed.remember()


def _publish(finder: RunFinder, content: RunContent) -> Outcome:
    found = find_or_make(finder, content.spec)
    if found is None:
        return "deleted"
    published, links = found
    spec, metrics = content.spec, {name: value for name, (value, _) in content.metrics.items()}
    published.describe(spec, metrics, links)
    published.data(spec, metrics)
    published.epochs(content.epochs, content.epoch_times, content.ended)
    published.metrics(content.metrics, content.withdrawn)
    published.files(content.files)
    if content.model is not None:
        published.model(spec, content.model, content.metrics)
    published.end(content.status, content.ended)
    if kind_of(spec) == "study":
        published.changed |= write_views(finder.client, published.experiment_id)
    return "published" if published.changed else "complete"
