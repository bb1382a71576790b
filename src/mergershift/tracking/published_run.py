"""A run on a server, written to only where it lacks something; what goes wrong there is raised."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from mergershift.cells.layout import CONFIG
from mergershift.cells.records import RunSpec
from mergershift.core.nesting import flattened
from mergershift.tracking.find_run import TRAINING_TAG, deleted, experiment_id, find
from mergershift.tracking.server import reaching_store

FILES_TAG = "mergershift.files"
"""Tag that holds a digest of each file of the run, so that a file is not read back to compare it."""
PARENT_TAG = "mlflow.parentRunId"
# MLflow takes no more in one request.
MOST_ENTRIES, MOST_METRICS, LONGEST_PARAMETER = 100, 1000, 6000


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


class PublishedRun:
    """A run as the server knows it. Everything may be given again and again: what is there is not doubled."""

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._run = run
        self._metrics: dict[str, float] = dict(run.data.metrics)
        self._digests = _digests(run.data.tags.get(FILES_TAG, "{}"))
        self._there: set[str] | None = None
        self._steps: set[int] | None = None
        self.changed = False
        """Whether the server lacked anything of what was given."""

    @property
    def run_id(self) -> str:
        """MLflow's id."""
        return str(self._run.info.run_id)

    def describe(self, spec: RunSpec) -> None:
        """Give the run the parameters and the configuration that it lacks, and its tags."""
        known = self._run.data.params
        # A parameter stays what it was: MLflow takes no second value, and where data lie may have changed.
        entries = [
            Param(key, str(value)[:LONGEST_PARAMETER])
            for key, value in flattened(spec.config)
            if key not in known
        ]
        for some in _parts(entries, MOST_ENTRIES):
            self._log(params=some)
        if spec.config:
            self.files({CONFIG: yaml.safe_dump(dict(spec.config), sort_keys=False).encode()})
        tags = {key: value for key, value in spec.tags.items() if value is not None}
        if spec.parent is not None:
            parent = find(self._client, self._run.info.experiment_id, spec.parent)
            if parent is not None:
                tags[PARENT_TAG] = parent.info.run_id
        missing = [RunTag(key, value) for key, value in tags.items() if self._run.data.tags.get(key) != value]
        for tags_part in _parts(missing, MOST_ENTRIES):
            self._log(tags=tags_part)

    def begin(self) -> None:
        """Mark the run as running."""
        if self._run.info.status != "RUNNING":
            self._client.update_run(self.run_id, status="RUNNING")
            self._run = self._client.get_run(self.run_id)

    def end(self, status: str, ended: int) -> None:
        """Mark the run as ended with `status` (FINISHED, FAILED or KILLED)."""
        if self._run.info.status != status:
            self._client.set_terminated(self.run_id, status, end_time=ended)
            self._run = self._client.get_run(self.run_id)
            self.changed = True

    def epochs(self, epochs: Sequence[Mapping[str, float]], times: Mapping[int, int], made: int) -> None:
        """Log the figures of those epochs that the run lacks, each with its time; `made` where that is not known."""
        names = sorted(name for figures in epochs[:1] for name in figures if name != "epoch")
        if not names:
            return
        if self._steps is None:
            # An epoch's figures come in one batch, which the server takes as a whole: one of them tells of all.
            self._steps = {metric.step for metric in self._client.get_metric_history(self.run_id, names[0])}
        missing = [figures for figures in epochs if int(figures["epoch"]) not in self._steps]
        for some in _parts(missing, max(1, MOST_METRICS // len(names))):
            entries = []
            for figures in some:
                epoch = int(figures["epoch"])
                entries += [
                    Metric(name, value, times.get(epoch, made), epoch)
                    for name, value in figures.items()
                    if name != "epoch"
                ]
            self._log(metrics=entries)
            self._steps |= {int(figures["epoch"]) for figures in some}

    def metrics(self, metrics: Mapping[str, tuple[float, int]]) -> None:
        """Log final figures, each with the time it was made, that the run lacks or has with another value."""
        entries = []
        for name, (value, made) in metrics.items():
            if name in self._metrics:
                if _same(self._metrics[name], value):
                    continue
                history = [m for m in self._client.get_metric_history(self.run_id, name) if m.step == 0]
                last = max(history, key=lambda metric: metric.timestamp, default=None)
                if last is not None and _same(last.value, value):
                    continue
                # The later of two counts; a file from a cache may be older than what it replaces.
                made = max(made, last.timestamp + 1) if last is not None else made
            entries.append(Metric(name, value, made, 0))
        for some in _parts(entries, MOST_METRICS):
            self._log(metrics=some)
            self._metrics |= {metric.key: metric.value for metric in some}

    def files(self, files: Mapping[str, bytes]) -> None:
        """Log the files, by their paths in the run, that it lacks or has with another content."""
        digests = {path: hashlib.sha256(content).hexdigest()[:16] for path, content in files.items()}
        if self._there is None:
            with reaching_store("the files of the run could not be listed"):
                self._there = set(self._listed())
        missing = [
            path for path in files if path not in self._there or self._digests.get(path) != digests[path]
        ]
        if not missing:
            return
        with TemporaryDirectory() as folder:
            for path in missing:
                local = Path(folder) / path
                local.parent.mkdir(parents=True, exist_ok=True)
                local.write_bytes(files[path])
                inside = str(PurePosixPath(path).parent)
                with reaching_store(f"{path} could not be stored"):
                    self._client.log_artifact(self.run_id, str(local), None if inside == "." else inside)
        self._there |= set(missing)
        self._digests |= {path: digests[path] for path in missing}
        self._log(tags=[RunTag(FILES_TAG, json.dumps(self._digests, sort_keys=True))])

    def _listed(self, folder: str | None = None) -> Iterator[str]:
        for entry in self._client.list_artifacts(self.run_id, folder):
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
    """The run of a training with its parameters and tags, made where the server does not know it.

    A run that somebody has deleted, or whose experiment, is left so and None returned, unless `restore`.
    """
    experiment = experiment_id(client, address, spec.experiment, restore=restore)
    if experiment is None:
        return None
    run = find(client, experiment, spec.training)
    made = run is None
    if run is None:
        tags = {key: value for key, value in spec.tags.items() if value is not None}
        entries = {TRAINING_TAG: spec.training, **tags}
        client.create_run(experiment, start_time=spec.started, tags=entries, run_name=spec.name)
        # Not the answer's: the request may have been sent twice, and another process may have been quicker.
        run = find(client, experiment, spec.training)
        if run is None:
            raise MlflowException(f"the run of {spec.name} was made and is not there")
    if deleted(run):
        if not restore:
            return None
        client.restore_run(run.info.run_id)
    published = PublishedRun(client, run)
    published.changed = made
    published.describe(spec)
    return published


def _parts(entries: Sequence[Any], most: int) -> Iterable[Sequence[Any]]:
    return (entries[start : start + most] for start in range(0, len(entries), most))


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _digests(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except ValueError:  # somebody has edited the tag
        return {}
    return found if isinstance(found, dict) else {}
