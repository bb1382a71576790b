"""Log each training to exactly one MLflow run, however often it is interrupted, with or without a server."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mergershift.cells.records import RunRecord, RunSpec, RunStatus, Trained
from mergershift.tracking import missed
from mergershift.tracking.diagnosis import tolerating, warn
from mergershift.tracking.find_or_make import find_or_make
from mergershift.tracking.find_run import RunFinder, deleted, experiment_named, find
from mergershift.tracking.published_run import Links, PublishedRun, now
from mergershift.tracking.server import connect, reach
from mergershift.tracking.system_metrics import SystemMetrics

logger = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 60.0, 600.0
"""Seconds to wait before trying a server again that did not answer; every failed attempt doubles the wait."""
EPOCHS_EVERY = 5.0
"""Least number of seconds between two epochs that are sent, since to send one takes a tenth of a second."""
LATER = "run `mergershift sync` later to publish what is missing"


class Run:
    """A training's run in MLflow, buffered while no server answers and sent as soon as one does.

    No method raises because of MLflow, and none waits for its server or database longer than a few seconds.
    """

    def __init__(self, address: str, spec: RunSpec, *, monitor: bool = False) -> None:
        self._address = address
        self._spec = spec
        self._published: PublishedRun | None = None
        self._links = Links()
        self._run_id: str | None = None
        self._experiment_id: str | None = None
        self._epochs: Sequence[Mapping[str, float]] = ()
        self._times: dict[int, int] = {}
        self._system: dict[int, Mapping[str, float]] = {}
        self._monitor = SystemMetrics() if monitor else None
        self._metrics: dict[str, tuple[float, int]] = {}
        self._files: dict[str, bytes] = {}
        self._end: tuple[str, int] | None = None
        self._out_of_reach = False
        self._wait, self._next_attempt = FIRST_WAIT, 0.0
        self._next_epoch = 0.0
        self._send()

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until a server has answered."""
        return self._run_id

    def log_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the metrics of the epochs that the run lacks; each epoch has its number under "epoch".

        Epochs that follow each other within seconds are sent together.
        """
        self._keep_epochs(epochs)
        if time.monotonic() >= self._next_epoch:
            self._send()
            self._next_epoch = time.monotonic() + EPOCHS_EVERY

    def log_text(self, text: str, name: str) -> None:
        """Log a text as the file `name` of the run."""
        self.log_files({name: text.encode()})

    def log_results(self, metrics: Mapping[str, float]) -> None:
        """Log final metrics."""
        logged = now()
        for name, value in metrics.items():
            self._metrics[name] = (value, logged)
        self._send()

    def log_files(self, files: Mapping[str, bytes]) -> None:
        """Log files, given as their contents by their paths in the run."""
        self._files |= files
        self._send()

    def finish(self, epochs: Sequence[Mapping[str, float]], status: RunStatus = "FINISHED") -> None:
        """Log whatever is still missing and end the run with `status` (FINISHED, FAILED or KILLED)."""
        self._keep_epochs(epochs)
        self._stop_monitor()
        self._end = status, now()
        self._next_attempt = 0.0
        self._send()
        if self._out_of_reach:
            missed.remember()
            logger.warning("%s: the run in MLflow is incomplete; %s", self._spec.name, LATER)

    def stop(self, status: RunStatus) -> None:
        """Mark the run as KILLED or FAILED until the training is resumed; nobody waits for a server now."""
        self._stop_monitor()
        self._end = status, now()
        self._send()

    @contextmanager
    def stopped_by_errors(self) -> Iterator[None]:
        """Mark the run as FAILED if an error ends this context, or as KILLED if an interruption does; see `stop`."""
        try:
            yield
        except BaseException as error:
            self.stop("FAILED" if isinstance(error, Exception) else "KILLED")
            raise

    def record(
        self, metrics: Mapping[str, float], status: RunStatus = "FINISHED", trained: Trained | None = None
    ) -> RunRecord:
        """Return the content of run.json, from which the run can be published later."""
        spec = self._spec
        return RunRecord(
            run_id=self.run_id,
            experiment_id=self._experiment_id,
            experiment=spec.experiment,
            name=spec.name,
            training=spec.training,
            parent=spec.parent,
            tags={key: value for key, value in spec.tags.items() if value is not None},
            status=status,
            metrics=dict(metrics),
            started=spec.started,
            ended=now(),
            epoch_times=self._times,
            system={epoch: dict(load) for epoch, load in self._system.items()},
            trained=trained,
        )

    def _keep_epochs(self, epochs: Sequence[Mapping[str, float]]) -> None:
        logged = now()
        numbers = [int(epoch["epoch"]) for epoch in epochs]
        if self._monitor is not None and numbers and numbers[-1] not in self._times:
            self._system[numbers[-1]] = self._monitor.take()
        for number in numbers:
            self._times.setdefault(number, logged)
        self._epochs = [
            {**epoch, **self._system.get(number, {})} for number, epoch in zip(numbers, epochs, strict=True)
        ]

    def _stop_monitor(self) -> None:
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None

    def _send(self) -> None:
        """Send the server all that it lacks, unless it failed to answer a moment ago."""
        if time.monotonic() < self._next_attempt:
            return
        try:
            published = self._open()
            metrics = {name: value for name, (value, _) in self._metrics.items()}
            published.describe(self._spec, metrics, self._links)
            published.epochs(self._epochs, self._times, now())
            published.metrics(self._metrics)
            published.files(self._files)
            if self._end is not None:
                published.end(*self._end)
        except Exception as error:  # nothing that concerns MLflow is worth losing a training
            self._lose(error)
            return
        if self._out_of_reach:
            logger.info("MLflow answers again: the run of %s is up to date", self._spec.name)
        self._out_of_reach, self._wait, self._next_attempt = False, FIRST_WAIT, 0.0

    def _open(self) -> PublishedRun:
        if self._published is None:
            reach(self._address)
            client = connect(self._address, brief=True)
            # A training in progress needs its run, even if somebody has deleted it.
            found = find_or_make(RunFinder(client, self._address), self._spec, restore=True)
            assert found is not None
            published, self._links = found
            if self._end is None:
                published.begin()
            published.describe(self._spec, {}, self._links)
            published.data(self._spec, {})
            published.configuration(self._spec)
            self._published, self._run_id = published, published.run_id
            self._experiment_id = published.experiment_id
        return self._published

    def _lose(self, error: Exception) -> None:
        if not self._out_of_reach:
            warn(error, self._address, f"{self._spec.name} continues without it: {LATER}")
        # The next server to answer may be a new one that does not know this run.
        self._out_of_reach, self._published = True, None
        self._next_attempt = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT)


def open_run(address: str, spec: RunSpec, *, monitor: bool = False) -> Run:
    """Find or create the run of a training; if no server answers within seconds, it is created later.

    Args:
        address: address of the server or database (`tracking_address`).
        spec: what the run is created from.
        monitor: whether to log the load of the machine with every epoch, until the run is finished or stopped.
    """
    return Run(address, spec, monitor=monitor)


def abandon(address: str, training: str, experiment: str) -> None:
    """Mark the run of a training that will not be resumed as killed, if a server answers and has it."""
    with tolerating(address, "the run of the abandoned training keeps its status"):
        reach(address)
        client = connect(address, brief=True)
        found = experiment_named(client, experiment)
        run = find(client, found.experiment_id, training) if found is not None else None
        if run is not None and not deleted(run):
            client.set_terminated(run.info.run_id, "KILLED")
