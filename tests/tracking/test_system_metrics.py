"""The load of the machine is logged with every epoch, and nothing about it disturbs a training."""

from __future__ import annotations

import threading
import time

import pytest
from mlflow import MlflowClient
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from tracking.samples import TRAINING

from mergershift.tracking import open_run
from mergershift.tracking.system_metrics import SystemMetrics

NOBODY = "http://127.0.0.1:9"
EPOCHS = [{"epoch": float(n), "train_loss": 1.0} for n in range(3)]
NAME = "mergershift-system-metrics"


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def test_each_epoch_has_the_load_since_the_one_before(database: str) -> None:
    run = open_run(database, TRAINING, monitor=True)
    for count in (1, 2):
        run.log_epochs(EPOCHS[:count])
    run.stop("KILLED")
    assert threads() == 0
    resumed = open_run(database, TRAINING, monitor=True)
    resumed.finish(EPOCHS)
    resumed.finish(EPOCHS)
    assert threads() == 0
    assert resumed.run_id is not None
    for name in ("system/cpu_utilization_percentage", "system/system_memory_usage_percentage"):
        history = MlflowClient(tracking_uri=database).get_metric_history(resumed.run_id, name)
        assert [metric.step for metric in history] == [0, 1, 2]
        assert all(0 <= metric.value <= 100 for metric in history)


def test_without_a_server_measuring_goes_on_and_ends_at_once() -> None:
    run = open_run(NOBODY, TRAINING, monitor=True)
    run.log_epochs(EPOCHS[:1])
    assert threads() == 1
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), run.stopped_by_errors():
        raise KeyboardInterrupt
    assert time.monotonic() - started < 1
    assert threads() == 0


def test_a_machine_that_cannot_be_measured_costs_only_the_measurements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: CPUMonitor) -> None:
        raise OSError("no /proc")

    monkeypatch.setattr(CPUMonitor, "collect_metrics", fails)
    monitor = SystemMetrics(interval=0.01)
    time.sleep(0.05)
    assert monitor.take() == {}
    monitor.stop()
    assert threads() == 0
