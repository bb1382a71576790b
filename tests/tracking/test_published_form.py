"""Runs are given the form in which they can be compared, once, and whatever users have changed stays."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from tracking.samples import SCORES, TRAINING

from mergershift.cells.records import RunContent, RunModel, RunSpec
from mergershift.core.nesting import flattened
from mergershift.tracking import Publisher, find_run
from mergershift.tracking.presentation import parameters
from mergershift.tracking.published_run import Links, PublishedRun

EPOCHS = [{"epoch": float(n), "train_loss": 1 / (n + 1)} for n in range(3)]
TIMES = {n: 1000 + n for n in range(3)}


def content(
    spec: RunSpec = TRAINING, model: RunModel | None = None, scores: dict[str, float] = SCORES
) -> RunContent:
    metrics = {name: (value, 2000) for name, value in scores.items()}
    return RunContent(spec, "FINISHED", 2000, EPOCHS, TIMES, metrics, {"git.diff": b"diff"}, model)


@pytest.fixture
def model(tmp_path: Path) -> RunModel:
    weights = tmp_path / "epoch013.safetensors"
    weights.write_bytes(b"weights")
    return RunModel(13, "first", {weights.name: weights})


@pytest.fixture
def client(database: str) -> MlflowClient:
    return MlflowClient(tracking_uri=database)


def run_of(client: MlflowClient, training: str = "t1") -> Run:
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], f"tags.mergershift.training = '{training}'")
    return run


def models(client: MlflowClient) -> list[LoggedModel]:
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    return list(client.search_logged_models([experiment.experiment_id]))


def test_a_run_of_an_earlier_version_gets_the_new_form_once(database: str, client: MlflowClient) -> None:
    """It has the cell's path as its name, all tags and settings, and metrics under the names of the files."""
    experiment = client.create_experiment("e")
    tags = {key: value for key, value in TRAINING.tags.items() if value is not None}
    tags |= {"mergershift.training": "t1", "mergershift.files": '{"git.diff": "0"}', "mine": "stays"}
    old = client.create_run(experiment, tags=tags, run_name=TRAINING.name)
    settings = [Param(key, str(value)) for key, value in flattened(TRAINING.config)]
    client.log_batch(old.info.run_id, params=settings)
    client.log_metric(old.info.run_id, "train_loss", 0.5, step=0)
    client.set_terminated(old.info.run_id)
    publisher = Publisher(database)
    assert publisher.publish(content()) == "published"
    assert publisher.publish(content()) == "complete"
    run = run_of(client)
    assert run.info.run_id == old.info.run_id
    assert run.info.run_name == "mmd · three · pristine→noisy · s0"
    shown = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    assert shown == {
        "mergershift.training": "t1",
        "kind": "training",
        "data": "mock",
        "target_95": ".66 [.58, .72]",
        "mine": "stays",
    }
    assert "target .66" in run.data.tags["mlflow.note.content"]
    assert run.data.params["training.optimizer.lr"] == run.data.params["learning_rate"] == "0.001"
    assert run.data.metrics["target/gain"] == 0.16
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.timestamp) for metric in history] == list(TIMES.items())
    page = client.get_experiment(experiment).tags
    assert page["mlflow.experimentKind"] == "custom_model_development"
    assert "target/gain" in page["mlflow.note.content"]


def test_what_a_user_has_changed_stays(database: str, client: MlflowClient) -> None:
    publisher = Publisher(database)
    publisher.publish(content())
    run_id = run_of(client).info.run_id
    client.update_run(run_id, name="the good one")
    changed = {"mlflow.note.content": "Look at this.", "mlflow.runColor": "#ffffff"}
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in changed.items()])
    experiment = run_of(client).info.experiment_id
    client.set_experiment_tag(experiment, "mlflow.note.content", "Our runs.")
    assert Publisher(database).publish(content(scores=SCORES | {"gain": 0.5})) == "published"
    run = run_of(client)
    assert run.info.run_name == "the good one"
    assert changed.items() <= run.data.tags.items()
    assert client.get_experiment(experiment).tags["mlflow.note.content"] == "Our runs."


def test_another_evaluation_replaces_scores_and_model(
    database: str, client: MlflowClient, model: RunModel
) -> None:
    publisher = Publisher(database)
    publisher.publish(content(model=model))
    run = run_of(client)
    foreign = client.create_logged_model(run.info.experiment_id, "registered", source_run_id=run.info.run_id)
    (first,) = (found for found in models(client) if found.model_id != foreign.model_id)
    assert (first.name, str(first.status), first.params["epoch"]) == ("mmd-three-epoch13", "READY", "13")
    assert {metric.key: metric.dataset_name for metric in first.metrics or []} == {
        "source/balanced_accuracy": "mock-100-three-pristine-test",
        "target/balanced_accuracy": "mock-100-three-noisy-test",
        "target/auc": "mock-100-three-noisy-test",
    }
    files = [entry.path for entry in client.list_logged_model_artifacts(first.model_id)]
    assert files == ["epoch013.safetensors"]
    assert publisher.publish(content(model=model)) == "complete"
    again = SCORES | {"target.unique.balanced_accuracy": 0.7, "selected_epoch": 5.0}
    del again["gain"]
    other = replace(model, epoch=5, evaluation="second")
    assert publisher.publish(content(model=other, scores=again)) == "published"
    assert publisher.publish(content(model=other, scores=again)) == "complete"
    assert {found.name for found in models(client)} == {"registered", "mmd-three-epoch5"}
    run = run_of(client)
    assert run.data.metrics["target/balanced_accuracy"] == 0.7
    assert run.data.metrics["validators/epoch"] == 5
    assert math.isnan(run.data.metrics["target/gain"]), "until the study is summarised again"
    assert run.data.tags["target_95"] == ".70 [.58, .72]"
    assert "target .70" in run.data.tags["mlflow.note.content"]
    assert len(client.get_metric_history(run.info.run_id, "target/auc")) == 1
    (kept,) = (found for found in models(client) if found.name == "mmd-three-epoch5")
    client.delete_logged_model(kept.model_id)
    assert publisher.publish(content(model=other, scores=again)) == "complete", "left deleted"


def test_a_model_that_a_killed_process_left_unfinished_is_replaced(
    database: str, client: MlflowClient, model: RunModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "finalize_logged_model", killed)
        with pytest.raises(KeyboardInterrupt):
            Publisher(database).publish(content(model=model))
    assert [str(found.status) for found in models(client)] == ["PENDING"]
    Publisher(database).publish(content(model=model))
    assert [str(found.status) for found in models(client)] == ["READY"]


def test_a_description_refers_to_the_study_as_soon_as_the_server_has_it(
    database: str, client: MlflowClient
) -> None:
    training = replace(TRAINING, study="study-1")
    publisher = Publisher(database)
    publisher.publish(content(training))
    assert "#/experiments" not in run_of(client).data.tags["mlflow.note.content"]
    study = RunSpec("study-1", "e", "study · demo", {}, {"kind": "study"})
    publisher.publish(RunContent(study, "FINISHED", 2000, [], {}, {}, {}))
    assert publisher.publish(content(training)) == "published"
    assert run_of(client, "study-1").info.run_id in run_of(client).data.tags["mlflow.note.content"]
    assert publisher.publish(content(training)) == "complete"


def test_many_runs_that_lack_nothing_cost_no_requests_of_their_own(
    database: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_run, "FEW", 0)
    many = [content(replace(TRAINING, training=f"t{number}")) for number in range(6)]
    publisher = Publisher(database)
    assert {publisher.publish(one) for one in many} == {"published"}
    # A lost answer left a second run of one training; another one was deleted.
    experiment = run_of(client).info.experiment_id
    client.create_run(experiment, tags={"mergershift.training": "t2"})
    client.delete_run(run_of(client, "t3").info.run_id)
    monkeypatch.setattr(find_run, "_PAGE", 4)
    requests: Counter[str] = Counter()
    for name in ("search_runs", "get_run", "get_metric_history", "log_batch", "get_experiment_by_name"):
        method = getattr(MlflowClient, name)

        def counted(*arguments: Any, _name: str = name, _method: Any = method, **named: Any) -> Any:
            requests[_name] += 1
            return _method(*arguments, **named)

        monkeypatch.setattr(MlflowClient, name, counted)
    publisher = Publisher(database)
    assert [publisher.publish(one) for one in many] == [*["complete"] * 3, "deleted", *["complete"] * 2]
    assert requests == {"get_experiment_by_name": 1, "search_runs": 2 + 1}, "two pages and the duplicate"
    assert len(client.search_runs([experiment], run_view_type=ViewType.ACTIVE_ONLY)) == 5


@pytest.fixture
def earlier(client: MlflowClient) -> str:
    """Id of a run that lacks parameters and has obsolete tags."""
    tags = {key: value for key, value in TRAINING.tags.items() if value is not None}
    run = client.create_run(
        client.create_experiment("e"), tags=tags | {"mergershift.training": "t1"}, run_name=TRAINING.name
    )
    return str(run.info.run_id)


def test_another_process_may_bring_a_run_up_to_date_that_this_one_has_read(
    database: str, client: MlflowClient, earlier: str
) -> None:
    here = PublishedRun(client, client.get_run(earlier))
    Publisher(database).publish(content())
    before = client.get_run(earlier).data.to_dictionary()
    here.describe(TRAINING, SCORES, Links())
    assert client.get_run(earlier).data.to_dictionary() == before


def test_another_process_may_log_the_same_parameters_at_the_same_moment(
    database: str, client: MlflowClient, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's database then refuses them, and with them the tags of the same request."""
    log_batch = MlflowClient.log_batch

    def refused(self: MlflowClient, run_id: str, **entries: Any) -> None:
        monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
        log_batch(self, run_id, params=entries["params"][:3])
        raise MlflowException("UNIQUE constraint failed: params.key", error_code=BAD_REQUEST)

    monkeypatch.setattr(MlflowClient, "log_batch", refused)
    assert Publisher(database).publish(content()) == "published"
    assert Publisher(database).publish(content()) == "complete"
    run = client.get_run(earlier)
    assert run.data.params == parameters(TRAINING)
    assert run.data.tags["kind"] == "training"
