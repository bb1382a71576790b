"""Saved views of an experiment: which runs MLflow's pages list, with which columns and in which order.

MLflow's pages keep a view as a tag of the experiment, which any browser opens by the view's name. The form of the tag
is the pages' own and is not documented; it is that of MLflow 3.17, so other versions get no views. It is an envelope
(name, createdAt, updatedAt, state) whose state is compressed JSON. When somebody saves a view in the pages, they write
the envelope anew, without the mark by which `write_views` knows its own.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from mergershift.tracking.answers import is_server
from mergershift.tracking.published_run import now

STUDY, BY_METHOD = "study", "study-by-method"
"""Names of the views: all trainings one by one, and the means over the seeds of each method."""
VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of the tags of views; the name follows."""
VERSIONS = "3.17."
"""Beginning of the versions of MLflow whose pages are known to read this form."""
_MARK = "writtenBy"
_OWN = "mergershift"
_COMPRESSED = "deflate;"
_TARGET = "metrics.`target/balanced_accuracy`"
_WIDTHS = {
    _TARGET: 185,
    "tags.`target_95`": 120,
    "attributes.`User`": 90,
    "metrics.`target/gain`": 150,
    "metrics.`source/balanced_accuracy`": 185,
    "metrics.`target/auc`": 150,
    "params.`method`": 140,
    "params.`labels`": 80,
    "params.`filters`": 70,
    "params.`source`": 80,
    "params.`target`": 80,
    "params.`seed`": 60,
    "params.`data`": 120,
    "attributes.`Dataset`": 230,
}
"""Width in pixels of the columns beside the run's name, by the pages' keys of them, in their order."""
_PINNED = ("attributes.`Run Name`", "runDateAndNestInfo")
"""Columns that the pages always show first: the run's name, and when it was created."""
_METHOD = ("method", "filters", "source", "target", "data", "settings")
"""Parameters that the seeds of a method have in common, so that no mean mixes data or settings."""
_SECTIONS = ("target", "source", "uncertainty", "validators", "validation", "train")
"""Groups of metrics in the order of their charts."""
_ON_CHART = ("method", "filters", "trade_off", "seed")
"""Parameters that a chart of the target's scores sets beside them: as many as it has room for."""


def _state(columns: Iterable[str], name_width: int, group_by: Sequence[str] = ()) -> dict[str, Any]:
    """Return the state of a page that lists evaluated trainings, the best on the target first.

    Args:
        columns: keys of the columns beside the run's name.
        name_width: width in pixels of the column with the names of runs, or of groups.
        group_by: parameters whose values form groups; a group shows the means of its runs' metrics.
    """
    shown = [key for key in _WIDTHS if key in columns]
    groups = [{"mode": "param", "groupByData": name} for name in group_by]
    return {
        "searchFilter": "tags.kind = 'training'",
        "orderByKey": _TARGET,
        "orderByAsc": False,
        "selectedColumns": shown,
        "columnOrder": [*_PINNED, *shown],
        "columnWidths": dict(zip(_PINNED, (name_width, 110), strict=True))
        | {key: _WIDTHS[key] for key in shown},
        "groupBy": {"aggregateFunction": "average", "groupByKeys": groups} if groups else None,
        **_charts(),
    }


def _charts() -> dict[str, Any]:
    """Return the state of the page's charts: the target's scores first, beside the parameters and one by one.

    The pages add a chart of every other metric to the section of its group.
    """
    target = _SECTIONS[0]
    return {
        "compareRunSections": [
            {
                "uuid": name,
                "name": name,
                "display": True,
                "isReordered": False,
                "deleted": False,
                "isGenerated": True,
            }
            for name in _SECTIONS
        ],
        "compareRunCharts": [
            {
                "uuid": "parameters",
                "type": "PARALLEL",
                "displayName": "Parameters and the score on the target",
                "metricSectionId": target,
                "runsCountToCompare": 100,
                "selectedParams": list(_ON_CHART),
                "selectedMetrics": ["target/balanced_accuracy"],
                "showAllRuns": True,
                "deleted": False,
                "isGenerated": False,
            }
        ],
        "isAccordionReordered": True,
    }


VIEWS: Mapping[str, dict[str, Any]] = {
    STUDY: _state(_WIDTHS, 330),
    # A group has metrics and means of parameters that are numbers, and its name says what its runs have in common.
    BY_METHOD: _state(
        [key for key in _WIDTHS if key.startswith("metrics.")] + ["params.`data`"],
        500,
        _METHOD,
    ),
}


def write_views(client: MlflowClient, experiment_id: str) -> bool:
    """Save the views that the experiment lacks or has in an outdated form; returns whether any was written.

    A view that somebody has saved under one of the names in MLflow's pages is left as it is. Nothing is written if
    another version of MLflow serves the pages.
    """
    if not pages_version(client).startswith(VERSIONS):
        return False
    tags = client.get_experiment(experiment_id).tags
    changed = False
    for name, wanted in VIEWS.items():
        stored = tags.get(VIEW_TAG + name)
        if stored is None or _is_outdated(stored, wanted):
            created = now() if stored is None else int(json.loads(stored).get("createdAt", now()))
            client.set_experiment_tag(experiment_id, VIEW_TAG + name, _encoded(name, wanted, created))
            changed = True
    return changed


def pages_version(client: MlflowClient) -> str:
    """Return the version of MLflow whose pages show the client's runs; empty if the server does not say.

    The runs of a database are shown by the installed version.
    """
    address = client.tracking_uri
    if not is_server(address):
        return str(mlflow.__version__)
    answer = http_request(get_default_host_creds(address), "/version", "GET", raise_on_status=False)
    return str(answer.text).strip() if answer.status_code == 200 else ""


def _encoded(name: str, wanted: Mapping[str, Any], created: int) -> str:
    text = json.dumps(wanted).encode()
    compressed = _COMPRESSED + base64.b64encode(zlib.compress(text)).decode()
    envelope = {"name": name, "createdAt": created, "updatedAt": now(), "state": compressed, _MARK: _OWN}
    return json.dumps(envelope)


def decoded(envelope: str) -> dict[str, Any]:
    """Return the state in a view's tag; raises ValueError if the tag holds no view."""
    stored = json.loads(envelope)
    text = stored["state"] if isinstance(stored, dict) and isinstance(stored.get("state"), str) else ""
    if text.startswith(_COMPRESSED):
        try:
            text = zlib.decompress(base64.b64decode(text.removeprefix(_COMPRESSED))).decode()
        except zlib.error as error:
            raise ValueError(f"the view cannot be decompressed ({error})") from error
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"the view's state is a {type(found).__name__}, expected an object")
    return found


def _is_outdated(stored: str, wanted: Mapping[str, Any]) -> bool:
    """Return whether a tag holds a view that this project has written and nobody has changed, but not as `wanted`."""
    try:
        envelope = json.loads(stored)
        own = isinstance(envelope, dict) and envelope.get(_MARK) == _OWN
        return own and decoded(stored) != wanted
    except ValueError:  # something else, which somebody has put there
        return False
