"""The load of the machine while a network trains: processor, memory and GPUs, as MLflow measures and names them."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

from mergershift.tracking.presentation import SYSTEM

logger = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two measurements."""


class SystemMetrics:
    """Measures in a thread of its own, which never uses the network; errors only end the measurements.

    MLflow's own monitor is not used: its thread waits for the server, and it stops for good if that does not answer.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._monitors = _monitors()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._measure, args=(interval,), name="mergershift-system-metrics", daemon=True
        )
        self._thread.start()

    def take(self) -> dict[str, float]:
        """Return the means since the last call by MLflow's names; none if nothing can be measured."""
        with self._lock:
            self._collect()
            found: dict[str, float] = {}
            for monitor in self._monitors:
                found |= {f"{SYSTEM}{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
        return found

    def stop(self) -> None:
        """End the thread, which takes no longer than one measurement, and release the GPUs' library."""
        self._stopped.set()
        self._thread.join()
        for monitor in self._monitors:
            if isinstance(monitor, GPUMonitor):
                with suppress(Exception):
                    import pynvml

                    pynvml.nvmlShutdown()
        self._monitors = []

    def _measure(self, interval: float) -> None:
        while not self._stopped.wait(interval):
            with self._lock:
                self._collect()

    def _collect(self) -> None:
        try:
            for monitor in self._monitors:
                monitor.collect_metrics()
        except Exception:  # nothing about the machine is worth losing a training
            logger.debug("the load of the machine cannot be measured", exc_info=True)
            self._monitors = []


def _monitors() -> list[BaseMetricsMonitor]:
    found: list[BaseMetricsMonitor] = []
    with suppress(Exception):
        found.append(CPUMonitor())
    for kind in (GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # no such GPU, or its library is not installed
            found.append(kind())
            break
    return found
