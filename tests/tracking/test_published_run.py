"""Final figures that are given to a run again and again, on a server in memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunData, RunInfo

from mergershift.tracking.published_run import PublishedRun

NAME, SHOWN = "information_maximisation", "validators/information_maximisation"


class Memory:
    """The histories of one run's metrics."""

    def __init__(self, *logged: Metric) -> None:
        self.logged = list(logged)

    def get_metric_history(self, run_id: str, name: str) -> list[Metric]:
        return [metric for metric in self.logged if metric.key == name]

    def log_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
        self.logged += metrics

    def opened(self) -> PublishedRun:
        """The run as a client finds it; of a metric's values the last of the last step counts.

        MLflow's databases hold the largest number in place of infinity.
        """
        largest = sys.float_info.max
        finite = [
            Metric(metric.key, max(-largest, min(metric.value, largest)), metric.timestamp, metric.step)
            if math.isinf(metric.value)
            else metric
            for metric in self.logged
        ]
        ordered = sorted(finite, key=lambda metric: (metric.step, metric.timestamp))
        latest = {metric.key: metric for metric in ordered}
        info = RunInfo("run", "0", "user", "RUNNING", 0, None, "active")
        return PublishedRun(
            cast(MlflowClient, self), Run(info, RunData(metrics=list(latest.values()), params=[], tags=[]))
        )

    def values(self) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in self.logged]


def test_a_trials_objective_by_epoch_and_in_the_end_are_metrics_of_their_own() -> None:
    """That of the network it keeps is often the last one's."""
    server = Memory()
    run = server.opened()
    run.epochs([{"epoch": 0.0, NAME: 0.3}, {"epoch": 1.0, NAME: 0.7}], {}, 100)
    run.metrics({NAME: (0.7, 300)})
    found = [(metric.key, metric.step, metric.value) for metric in server.logged]
    by_epoch = f"validation/{NAME}"
    assert found == [(by_epoch, 0, 0.3), (by_epoch, 1, 0.7), (SHOWN, 0, 0.7)]


@pytest.mark.parametrize("value", [0.7, math.nan, math.inf, -math.inf])
def test_what_is_there_is_not_doubled(value: float) -> None:
    server = Memory()
    run = server.opened()
    for _ in range(2):
        run.metrics({NAME: (value, 300)})
    server.opened().metrics({NAME: (value, 300)})
    assert len(server.logged) == 1


def test_another_value_comes_after_the_one_it_replaces() -> None:
    server = Memory(Metric(SHOWN, 0.3, 500, 0))
    server.opened().metrics({NAME: (0.7, 200)})
    assert server.values() == [(0, 0.3), (0, 0.7)]
    assert server.logged[1].timestamp > 500


def test_a_metric_that_no_longer_holds_becomes_nan_once_and_only_where_it_is() -> None:
    server = Memory(Metric("target/gain", 0.3, 500, 0))
    for _ in range(2):
        server.opened().metrics({NAME: (0.7, 200)}, withdrawn=["gain", "gain.low"])
    assert [(metric.key, metric.value) for metric in server.logged[1:]] == [
        (SHOWN, 0.7),
        ("target/gain", pytest.approx(math.nan, nan_ok=True)),
    ]


def test_metrics_under_the_names_of_an_earlier_version_remain_right() -> None:
    """Searches of users may use them; those by epoch have the same names, and are left alone."""
    score, f1 = "target.unique.balanced_accuracy", "target.unique.f1"
    server = Memory(
        Metric(score, 0.5, 100, 0),
        Metric(f1, 0.4, 100, 0),
        Metric("target.all.auc", 0.6, 100, 0),
        Metric(NAME, 0.1, 90, 0),
        Metric(NAME, 0.2, 95, 1),
    )
    for _ in range(2):
        server.opened().metrics(
            {score: (0.7, 200), f1: (0.8, 200), NAME: (0.1, 200), "threshold": (0.5, 200)}
        )
    logged = {metric.key: metric.value for metric in server.logged[5:]}
    assert math.isnan(logged.pop("target.all.auc")), "the new evaluation has none"
    assert logged == {
        "target/balanced_accuracy": 0.7,
        SHOWN: 0.1,
        "validators/threshold": 0.5,
        score: 0.7,
        f1: 0.8,
    }
    assert len(server.logged) == 11
