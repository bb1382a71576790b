"""The saved views of MLflow's pages: written once, in a form that the installed pages read, never over a user's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from tracking.server import Server

from mergershift.tracking.presentation import FINAL_GROUPS, PARAMETERS
from mergershift.tracking.server import connect
from mergershift.tracking.views import (
    BY_METHOD,
    STUDY,
    VERSIONS,
    VIEW_TAG,
    VIEWS,
    decoded,
    pages_version,
    write_views,
)

PAGES = Path(mlflow.__file__).parent / "server/js/build/static/js"


@pytest.fixture
def client(database: str) -> MlflowClient:
    """A client of the project's database, in which there is an experiment."""
    client = connect(database)
    client.create_experiment("mergershift")
    return client


def tags(client: MlflowClient) -> dict[str, str]:
    return dict(client.get_experiment("1").tags)


def test_views_are_written_once(client: MlflowClient) -> None:
    assert write_views(client, "1")
    written = tags(client)
    assert decoded(written[VIEW_TAG + STUDY]) == VIEWS[STUDY]
    assert decoded(written[VIEW_TAG + BY_METHOD]) == VIEWS[BY_METHOD]
    assert not write_views(client, "1")
    assert tags(client) == written


def test_the_views_sort_by_the_targets_score_and_show_trainings_alone() -> None:
    for view in VIEWS.values():
        assert view["searchFilter"] == "tags.kind = 'training'"
        assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`target/balanced_accuracy`", False)
        assert view["orderByKey"] in view["selectedColumns"]
        (chart,) = view["compareRunCharts"]
        assert chart["metricSectionId"] == view["compareRunSections"][0]["uuid"] == "target"
        assert set(chart["selectedParams"]) <= {"method", "filters", *PARAMETERS}
        sections = {section["name"] for section in view["compareRunSections"]}
        assert sections == {group.rstrip("/") for group in FINAL_GROUPS} | {"validation", "train"}
    assert "tags.`target_95`" in VIEWS[STUDY]["selectedColumns"]
    assert VIEWS[STUDY]["groupBy"] is None
    keys = [key["groupByData"] for key in VIEWS[BY_METHOD]["groupBy"]["groupByKeys"]]
    assert {"data", "settings"} <= set(keys)
    assert "seed" not in keys
    assert keys[0] == "method"


def test_a_view_saved_in_the_pages_stays_and_an_outdated_one_of_ours_is_replaced(
    client: MlflowClient,
) -> None:
    write_views(client, "1")
    own = json.loads(tags(client)[VIEW_TAG + STUDY])
    # The pages write these four entries, whoever wrote the view before; uncompressed if their browser cannot.
    theirs = {
        "name": "study",
        "createdAt": own["createdAt"],
        "updatedAt": own["updatedAt"] + 1,
        "state": "{}",
    }
    client.set_experiment_tag("1", VIEW_TAG + STUDY, json.dumps(theirs))
    client.set_experiment_tag("1", VIEW_TAG + BY_METHOD, json.dumps({**own, "createdAt": 5, "state": "{}"}))
    assert write_views(client, "1")
    assert json.loads(tags(client)[VIEW_TAG + STUDY]) == theirs
    assert decoded(tags(client)[VIEW_TAG + BY_METHOD]) == VIEWS[BY_METHOD]
    assert json.loads(tags(client)[VIEW_TAG + BY_METHOD])["createdAt"] == 5


@pytest.mark.parametrize(
    "value", ["", "[]", "no JSON", '{"writtenBy": "mergershift", "state": "deflate;AAAA"}']
)
def test_a_tag_that_holds_no_view_stays(client: MlflowClient, value: str) -> None:
    client.set_experiment_tag("1", VIEW_TAG + STUDY, value)
    write_views(client, "1")
    assert tags(client)[VIEW_TAG + STUDY] == value


def test_other_versions_of_the_pages_get_no_view(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "__version__", "3.18.0")
    assert not write_views(client, "1")
    assert not any(name.startswith(VIEW_TAG) for name in tags(client))


@pytest.mark.system
def test_a_server_says_which_version_its_pages_are(server: Server) -> None:
    assert pages_version(connect(server.address)) == mlflow.__version__


@pytest.mark.skipif(not mlflow.__version__.startswith(VERSIONS), reason="the views are for other pages")
def test_the_installed_pages_read_every_entry_of_the_views() -> None:
    code = "".join(path.read_text() for path in PAGES.glob("*.js") if path.stat().st_size < 5e6)
    assert f'"{VIEW_TAG}"' in code
    lists = [match[0] for match in re.finditer(r'\["(?:searchFilter|selectedColumns)"(?:,"\w+")+\]', code)]
    read = {name for found in lists for name in json.loads(found)}
    for view in VIEWS.values():
        assert set(view) <= read
