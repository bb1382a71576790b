"""A run on an MLflow server, to which only what it lacks is written; errors of the server are raised."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from mergershift.cells.layout import CONFIG
from mergershift.cells.records import RunSpec
from mergershift.core.nesting import flattened
from mergershift.tracking.artifact_store import store_of
from mergershift.tracking.failures import check_store, reaching_store
from mergershift.tracking.find_run import TRAINING_TAG, deleted, experiment_id, find

FILES_TAG = "mergershift.files"
"""Tag with a digest of every file of the run, so that no file is downloaded to be compared."""
PARENT_TAG = "mlflow.parentRunId"
MOST_ENTRIES, MOST_METRICS, LONGEST_PARAMETER = 100, 1000, 6000
"""MLflow's limits: parameters or tags in one request, metrics in one request, characters of a parameter."""


def now() -> int:
    """Return the time in milliseconds since 1970, MLflow's unit."""
    return int(time.time() * 1000)


class PublishedRun:
    """A run as the server knows it. Everything may be logged repeatedly: the server gets only what it lacks."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._run = run
        self._metrics: dict[str, float] = dict(run.data.metrics)
        self._digests = _digests(run.data.tags.get(FILES_TAG, "{}"))
        self._stored: set[str] | None = None
        self._steps: set[int] | None = None
        self.changed = False
        """Whether anything had to be sent because the server lacked it."""

    @property
    def run_id(self) -> str:
        """MLflow's id of the run."""
        return str(self._run.info.run_id)

    @cached_property
    def _files_store(self) -> ArtifactRepository:
        return store_of(self._client, self._run)

    def describe(self, spec: RunSpec) -> None:
        """Log the parameters and the configuration that the run lacks, and its tags."""
        known = self._run.data.params
        # A known parameter keeps its value: MLflow rejects a second one, and paths to data may have changed.
        entries = [
            Param(key, str(value)[:LONGEST_PARAMETER])
            for key, value in flattened(spec.config)
            if key not in known
        ]
        for batch in _batches(entries, MOST_ENTRIES):
            self._log(params=batch)
        if spec.config:
            self.files({CONFIG: yaml.safe_dump(dict(spec.config), sort_keys=False).encode()})
        tags = {key: value for key, value in spec.tags.items() if value is not None}
        if spec.parent is not None:
            parent = find(self._client, self._run.info.experiment_id, spec.parent)
            if parent is not None:
                tags[PARENT_TAG] = parent.info.run_id
        missing = [RunTag(key, value) for key, value in tags.items() if self._run.data.tags.get(key) != value]
        for tags_batch in _batches(missing, MOST_ENTRIES):
            self._log(tags=tags_batch)

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
            # The metrics of an epoch are sent in one batch, which the server stores entirely or not at all, so
            # one metric's history shows which epochs it has.
            self._steps = {metric.step for metric in self._client.get_metric_history(self.run_id, names[0])}
        missing = [metrics for metrics in epochs if int(metrics["epoch"]) not in self._steps]
        for batch in _batches(missing, max(1, MOST_METRICS // len(names))):
            entries = []
            for metrics in batch:
                number = int(metrics["epoch"])
                entries += [
                    Metric(name, value, times.get(number, default_time), number)
                    for name, value in metrics.items()
                    if name != "epoch"
                ]
            self._log(metrics=entries)
            self._steps |= {int(metrics["epoch"]) for metrics in batch}

    def metrics(self, metrics: Mapping[str, tuple[float, int]]) -> None:
        """Log the final metrics, given as (value, time), that the run lacks or has with another value."""
        entries = []
        for name, (value, time_of_value) in metrics.items():
            if name in self._metrics:
                if _same(self._metrics[name], value):
                    continue
                history = [m for m in self._client.get_metric_history(self.run_id, name) if m.step == 0]
                last = max(history, key=lambda metric: metric.timestamp, default=None)
                if last is not None and _same(last.value, value):
                    continue
                # MLflow shows the latest value, but one from a cached file may be older than the one it replaces.
                time_of_value = max(time_of_value, last.timestamp + 1) if last is not None else time_of_value
            entries.append(Metric(name, value, time_of_value, 0))
        for batch in _batches(entries, MOST_METRICS):
            self._log(metrics=batch)
            self._metrics |= {metric.key: metric.value for metric in batch}

    def files(self, files: Mapping[str, bytes]) -> None:
        """Log the files, given by their paths in the run, that it lacks or has with other contents."""
        digests = {path: hashlib.sha256(content).hexdigest()[:16] for path, content in files.items()}
        check_store(self._client.tracking_uri, self._run.info.artifact_uri)
        if self._stored is None:
            with reaching_store("the files of the run could not be listed"):
                self._stored = set(self._listed())
        missing = [
            path for path in files if path not in self._stored or self._digests.get(path) != digests[path]
        ]
        if not missing:
            return
        with TemporaryDirectory() as folder:
            for path in missing:
                local = Path(folder) / path
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(files[path])
                parent = str(PurePosixPath(path).parent)
                with reaching_store(f"{path} could not be stored"):
                    self._files_store.log_artifact(str(local), None if parent == "." else parent)
        self._stored |= set(missing)
        self._digests |= {path: digests[path] for path in missing}
        self._log(tags=[RunTag(FILES_TAG, json.dumps(self._digests, sort_keys=True))])

    def _listed(self, folder: str | None = None) -> Iterator[str]:
        for entry in self._files_store.list_artifacts(folder):
            if entry.is_dir:
                yield from self._listed(entry.path)
            else:
                yield entry.path

    def _log(self, **entries: Any) -> None:
        self._client.log_batch(self.run_id, **entries)
        self.changed = True


def find_or_make(
    client: MlflowClient, address: str, spec: RunSpec, *, restore: bool = False
) -> PublishedRun | None:
    """Return the run of a training with its parameters and tags, creating it if the server does not know it.

    If the run or its experiment has been deleted, it is restored only if `restore` is set; otherwise the result
    is None.
    """
    experiment = experiment_id(client, address, spec.experiment, restore=restore)
    if experiment is None:
        return None
    run = find(client, experiment, spec.training)
    created = run is None
    if run is None:
        tags = {key: value for key, value in spec.tags.items() if value is not None}
        entries = {TRAINING_TAG: spec.training, **tags}
        client.create_run(experiment, start_time=spec.started, tags=entries, run_name=spec.name)
        # The run in the answer may be a duplicate: of a request sent twice, or of one that another process created.
        run = find(client, experiment, spec.training)
        if run is None:
            raise MlflowException(f"the run of {spec.name} was created but cannot be found")
    if deleted(run):
        if not restore:
            return None
        client.restore_run(run.info.run_id)
    published = PublishedRun(client, run)
    published.changed = created
    published.describe(spec)
    return published


def _batches(entries: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _digests(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:  # somebody has edited the tag
        return {}
    return found if isinstance(found, dict) else {}
