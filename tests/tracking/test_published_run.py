"""Final figures that are given to a run again and again, on a server in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run, RunData, RunInfo

from mergershift.tracking.published_run import PublishedRun

NAME, SHOWN = "information_maximisation", "selection/information_maximisation"


class Memory:
    """The histories of one run's metrics."""

    def __init__(self, *logged: Metric) -> None:
        self.logged = list(logged)

    def get_metric_history(self, run_id: str, name: str) -> list[Metric]:
        return [metric for metric in self.logged if metric.key == name]

    def log_batch(self, run_id: str, metrics: Sequence[Metric]) -> None:
        self.logged += metrics

    def opened(self) -> PublishedRun:
        """The run as a client finds it; of a metric's values the last of the last step counts."""
        ordered = sorted(self.logged, key=lambda metric: (metric.step, metric.timestamp))
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


@pytest.mark.parametrize("value", [0.7, math.nan])
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
