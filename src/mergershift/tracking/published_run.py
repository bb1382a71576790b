"""A run on an MLflow server, to which only what it lacks is written; errors of the server are raised."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from mergershift.cells.layout import CONFIG
from mergershift.cells.records import RunModel, RunSpec
from mergershift.tracking.data_sets import data_inputs
from mergershift.tracking.description import description
from mergershift.tracking.logged_model import MODEL_TAG, replace_model
from mergershift.tracking.notes import NOTE, note_tags
from mergershift.tracking.presentation import (
    COLOUR,
    FINAL_GROUPS,
    TARGET_SCORE,
    metric_name,
    parameters,
    run_name,
    shown_tags,
)
from mergershift.tracking.run_files import FILES_TAG, FORMER_FILES_TAG, RunFiles

MOST_METRICS, LONGEST_PARAMETER, LONGEST_TAG = 1000, 6000, 8000
"""MLflow's limits: metrics in one request, characters of a parameter or tag."""
FORMER_GROUPS = ("source.", "target.")
"""Beginnings of the names that earlier versions gave to the scores of an evaluation."""


@dataclass(frozen=True)
class Links:
    """The runs that a run refers to, as far as the server has them."""

    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags that link it to them."""
    study: str | None = None
    """Address of the page of the study's run, within MLflow's pages."""


def now() -> int:
    """Return the time in milliseconds since 1970, MLflow's unit."""
    return int(time.time() * 1000)


class PublishedRun:
    """A run as the server knows it. Everything may be logged repeatedly: the server gets only what it lacks."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._run = run
        self._parameters: dict[str, str] = dict(run.data.params)
        self._tags: dict[str, str] = dict(run.data.tags)
        self._latest = {metric.key: metric for metric in run.data.to_proto().metrics}
        self._files = RunFiles(client, run)
        self._steps: set[int] | None = None
        self.changed = False
        """Whether anything had to be sent because the server lacked it."""

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment."""
        return str(self._run.info.experiment_id)

    def describe(self, spec: RunSpec, metrics: Mapping[str, float], links: Links) -> None:
        """Give the run the name, parameters, tags and description that it lacks, and remove obsolete tags.

        What a user has changed in MLflow's pages stays: the name, the colour and the description.

        Args:
            spec: facts of the run.
            metrics: its final metrics, by their names in the record and the evaluation.
            links: the runs that it refers to.
        """
        wanted = {**shown_tags(spec, metrics), **links.tags}
        if COLOUR in self._tags:
            wanted.pop(COLOUR, None)
        note = wanted.pop(NOTE, None) or description(spec, metrics, links.study)
        if note is not None:
            wanted |= note_tags(note, self._tags)
        if FILES_TAG not in self._tags:
            wanted |= self._files.tags
        wanted = {key: value[:LONGEST_TAG] for key, value in wanted.items()}
        tags = {key: value for key, value in wanted.items() if self._tags.get(key) != value}
        # A known parameter keeps its value: MLflow rejects a second one, and paths to data may have changed.
        lacking = {
            key: value[:LONGEST_PARAMETER]
            for key, value in parameters(spec).items()
            if key not in self._parameters
        }
        if tags or lacking:
            self._log(
                params=[Param(key, value) for key, value in lacking.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )
            self._parameters |= lacking
        ours = {key for key, value in spec.tags.items() if value is not None and self._tags.get(key) == value}
        obsolete = ours - wanted.keys()
        if FILES_TAG in self._tags and FORMER_FILES_TAG in self._tags:
            obsolete.add(FORMER_FILES_TAG)
        for key in obsolete - {COLOUR, NOTE}:
            self._delete_tag(key)
            self.changed = True
        name = run_name(spec)
        if self._run.info.run_name == spec.name != name:  # the name that earlier versions gave it
            self._client.update_run(self.run_id, name=name)
            self._run = self._client.get_run(self.run_id)
            self.changed = True

    def configuration(self, spec: RunSpec) -> None:
        """Log the file with the whole configuration if the run lacks it."""
        if spec.config:
            self.files({CONFIG: yaml.safe_dump(dict(spec.config), sort_keys=False).encode()})

    def data(self, spec: RunSpec, metrics: Mapping[str, float]) -> None:
        """Log the data sets that the network was trained and tested on."""
        present = self._run.inputs.dataset_inputs if self._run.inputs is not None else []
        known = {(entry.dataset.name, entry.dataset.digest) for entry in present}
        missing = [
            entry
            for entry in data_inputs(spec, evaluated=TARGET_SCORE in metrics).values()
            if (entry.dataset.name, entry.dataset.digest) not in known
        ]
        if missing:
            self._client.log_inputs(self.run_id, missing)
            self.changed = True

    def begin(self) -> None:
        """Mark the run as running."""
        if self._run.info.status != "RUNNING":
            self._client.update_run(self.run_id, status="RUNNING")
            self._run = self._client.get_run(self.run_id)

    def end(self, status: str, ended: int) -> None:
        """End the run with `status` (FINISHED, FAILED or KILLED) at the time `ended`, in milliseconds since 1970."""
        if self._run.info.status != status:
            self._client.set_terminated(self.run_id, status, end_time=ended)
            self._run = self._client.get_run(self.run_id)
            self.changed = True

    def epochs(
        self, epochs: Sequence[Mapping[str, float]], times: Mapping[int, int], default_time: int
    ) -> None:
        """Log the metrics of the epochs that the run lacks.

        Args:
            epochs: metrics of every epoch by name; "epoch" is its number.
            times: when an epoch ended, in milliseconds since 1970, by its number.
            default_time: the time for epochs that `times` lacks.
        """
        names = sorted(name for metrics in epochs[:1] for name in metrics if name != "epoch")
        if not names:
            return
        if self._steps is None:
            self._steps = self._known_steps(metric_name(names[0], epoch=True), int(epochs[-1]["epoch"]))
        missing = [metrics for metrics in epochs if int(metrics["epoch"]) not in self._steps]
        widest = max((len(metrics) for metrics in missing), default=1)
        for batch in _batches(missing, max(1, MOST_METRICS // widest)):
            entries = []
            for metrics in batch:
                number = int(metrics["epoch"])
                time_of_epoch = times.get(number, default_time)
                # A trial's objective, the last column, may have the name of another column, and replaces it.
                shown = {metric_name(name, epoch=True): value for name, value in metrics.items()}
                del shown[metric_name("epoch", epoch=True)]
                entries += [Metric(name, value, time_of_epoch, number) for name, value in shown.items()]
            self._log(metrics=entries)
            self._steps |= {int(metrics["epoch"]) for metrics in batch}

    def _known_steps(self, name: str, last: int) -> set[int]:
        """Return the epochs that the run has: all if it has the last one, since they are sent in order.

        The metrics of an epoch are sent in one batch, which the server stores entirely or not at all, so one metric's
        history shows which epochs it has.
        """
        latest = self._latest.get(name)
        if latest is None:
            return set()
        if latest.step >= last:
            return set(range(last + 1))
        return {metric.step for metric in self._client.get_metric_history(self.run_id, name)}

    def metrics(self, metrics: Mapping[str, tuple[float, int]], withdrawn: Collection[str] = ()) -> None:
        """Log the final metrics, given as (value, time), that the run lacks or has with another value.

        Once one has another value, those that `metrics` lacks belong to an earlier evaluation and become NaN, as those
        named in `withdrawn` do in any case. A run of an earlier version has metrics by their names in the files, too,
        which remain right.
        """
        wanted = {name: entry for plain, entry in metrics.items() if (name := metric_name(plain)) is not None}
        # Those of epochs, of the same name, have later steps.
        earlier = {plain for plain in metrics if plain in self._latest and self._latest[plain].step == 0}
        wanted |= {plain: metrics[plain] for plain in earlier}
        gone = {metric_name(plain) for plain in withdrawn} & self._latest.keys()
        if any(
            name in self._latest and not _same(self._latest[name].value, wanted[name][0]) for name in wanted
        ):
            groups = FINAL_GROUPS + FORMER_GROUPS
            gone |= {name for name in self._latest if name.startswith(groups)} - wanted.keys()
        newest = max((time_of_value for _, time_of_value in wanted.values()), default=0)
        wanted |= {name: (math.nan, newest) for name in gone if name is not None}
        entries = []
        for name, (value, time_of_value) in wanted.items():
            known = self._latest.get(name)
            if known is None or not _same(known.value, value):
                # MLflow shows the latest value, but one from a cached file may be older than the one it replaces.
                later = time_of_value if known is None else max(time_of_value, known.timestamp + 1)
                entries.append(Metric(name, value, later, 0))
        for batch in _batches(entries, MOST_METRICS):
            self._log(metrics=batch)
            self._latest |= {metric.key: metric.to_proto() for metric in batch}

    def files(self, files: Mapping[str, bytes]) -> None:
        """Log the files, given by their paths in the run, that it lacks or has with other contents."""
        if self._files.store(files):
            self._log(tags=[RunTag(key, value) for key, value in self._files.tags.items()])

    def model(self, spec: RunSpec, model: RunModel, metrics: Mapping[str, tuple[float, int]]) -> None:
        """Log the classifier that an evaluation chose, in place of one that an earlier evaluation chose."""
        if self._tags.get(MODEL_TAG) == model.evaluation:
            return
        try:
            replace_model(self._client, self._run, spec, model, metrics)
        except MlflowException as error:
            if error.error_code != "ENDPOINT_NOT_FOUND":
                raise
            return  # servers before MLflow 3 have no models of runs
        self._log(tags=[RunTag(MODEL_TAG, model.evaluation)])

    def _delete_tag(self, key: str) -> None:
        try:
            self._client.delete_tag(self.run_id, key)
        except MlflowException as error:
            # Another process may have deleted it since the run was read.
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        del self._tags[key]

    def _log(self, **entries: Any) -> None:
        try:
            self._client.log_batch(self.run_id, **entries)
        except MlflowException as error:
            # Another process may have logged the same parameters since the run was read.
            if error.error_code not in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE") or "params" not in entries:
                raise
            known = self._client.get_run(self.run_id).data.params
            lacking = [param for param in entries["params"] if param.key not in known]
            if len(lacking) == len(entries["params"]):
                raise
            self._client.log_batch(self.run_id, **{**entries, "params": lacking})
        self._tags |= {tag.key: tag.value for tag in entries.get("tags", ())}
        self.changed = True


def _batches(entries: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _same(one: float, other: float) -> bool:
    # Databases of MLflow hold the largest finite number in place of infinity.
    one, other = (math.copysign(sys.float_info.max, x) if math.isinf(x) else x for x in (one, other))
    return one == other or (math.isnan(one) and math.isnan(other))
