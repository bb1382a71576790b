"""Addresses of MLflow's pages.

They say which kind of pages is meant: without that, MLflow opens its GenAI pages, which list no metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import quote, urlencode

_KIND = {"workflowType": "machine_learning"}
_VIEW = "viewStateShareKey"
_CHARTS = {"compareRunsMode": "CHART"}


def experiment_page(
    address: str, experiment_id: str | None, view: str | None = None, *, charts: bool = False
) -> str:
    """Return the address of an experiment's list of runs.

    Args:
        address: address of MLflow's server, without credentials; empty for an address relative to its pages.
        experiment_id: id of the experiment; without it, the page lists all experiments.
        view: name of the saved view that the list opens with.
        charts: whether the page shows charts of the runs beside the list, rather than columns.
    """
    path = "experiments" if experiment_id is None else f"experiments/{experiment_id}/runs"
    return _page(address, path, ({_VIEW: view} if view else {}) | (_CHARTS if charts else {}))


def run_page(address: str, experiment_id: str | None, run_id: str, artifact: str | None = None) -> str:
    """Return the address of a run's page, or of one of its files there.

    Args:
        address: As for `experiment_page`.
        experiment_id: The run's experiment. If it is None, MLflow finds it itself, but around the run's page it shows
            the menu of its GenAI pages.
        run_id: The run.
        artifact: Path of a file of the run.
    """
    file = f"/artifacts/{artifact}" if artifact else ""
    of = f"experiments/{experiment_id}/" if experiment_id else ""
    return _page(address, f"{of}runs/{run_id}{file}")


def model_page(address: str, name: str, version: int | None = None) -> str:
    """Return the address of the page of a registered model, or of a version; `address` is as for `experiment_page`."""
    path = f"models/{quote(name, safe='')}"
    return _page(address, path if version is None else f"{path}/versions/{version}")


def _page(address: str, path: str, query: Mapping[str, str] = MappingProxyType({})) -> str:
    # Without an address, the slash in front is left out: behind a proxy, the pages are not at the host's root.
    start = f"{address.rstrip('/')}/" if address else ""
    return f"{start}#/{path}?{urlencode(_KIND | dict(query))}"
