"""Versions of registered models in a database file: one per model, found by name, alias and number."""

import json
import sys

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from mergershift.core.errors import UserError
from mergershift.tracking import fetch_model
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_files import files_hash
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.published_run import PublishedRun


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("registry")
    address = f"sqlite:///{folder}/registry.db"
    client = MlflowClient(tracking_uri=address)
    experiment = client.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
    client.create_run(experiment, tags={TRAINING_TAG: "t1"})
    return address


@pytest.fixture
def name(request):
    """Name of a registered model that only this test uses."""
    return request.node.name.replace("[", "_").replace("]", "")


@pytest.fixture
def registry(address, tmp_path, monkeypatch):
    """A registry used outside of a checkout, as on the machine of somebody who only predicts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return Registry(address)


def publish(registry, name, tmp_path, fingerprint="m1", content="program"):
    folder = tmp_path / f"model-{fingerprint}"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data/model.pt2").write_text(content)
    (folder / "MLmodel").write_text("flavors: {}\n")
    run_id = registry.run_of("t1", "e")
    return registry.publish(folder, name, run_id, fingerprint, {"data_hash": "d"}, "description")


def test_a_run_is_found_by_its_training(registry, address):
    run = MlflowClient(tracking_uri=address).get_run(registry.run_of("t1", "e"))
    assert run.data.tags[TRAINING_TAG] == "t1"
    assert registry.run_of("t2", "e") is None
    assert registry.run_of("t1", "other") is None


def test_registering_a_model_again_adds_no_version_and_another_model_does(registry, name, tmp_path):
    first, new = publish(registry, name, tmp_path)
    assert new
    assert publish(registry, name, tmp_path) == (first, False)
    second, new = publish(registry, name, tmp_path, "m2")
    assert new
    assert [version.number for version in registry.versions(name)] == [first.number, second.number] == [1, 2]
    assert first.tags["data_hash"] == "d"


def test_when_two_processes_register_at_once_the_lower_version_is_kept(registry, name, tmp_path, monkeypatch):
    """The other process registers the model between this one's check and its registration."""
    same = registry.same

    def same_before_the_other_registers(*arguments):
        found = same(*arguments)
        if found is None:
            monkeypatch.setattr(registry, "same", same)
            publish(registry, name, tmp_path)
        return found

    monkeypatch.setattr(registry, "same", same_before_the_other_registers)
    version, new = publish(registry, name, tmp_path)
    assert (version.number, new) == (1, False)
    assert [version.number for version in registry.versions(name)] == [1]


def test_a_version_is_downloaded_once(registry, address, name, tmp_path):
    version, _ = publish(registry, name, tmp_path)
    folder = fetch_model(address, version.uri)
    assert (folder / "data/model.pt2").read_text() == "program"
    (folder / "MLmodel").write_text("changed")
    assert fetch_model(address, f"models:/{name}/1") == folder
    assert (folder / "MLmodel").read_text() == "changed"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_two_models_of_one_training_keep_their_own_files(registry, address, name, tmp_path):
    publish(registry, name, tmp_path, "m1", "one")
    publish(registry, name, tmp_path, "m2", "two")
    texts = [(fetch_model(address, f"models:/{name}/{n}") / "data/model.pt2").read_text() for n in (1, 2)]
    assert texts == ["one", "two"]


def test_a_copy_keeps_tags_and_files_and_can_become_the_champion(registry, address, name, tmp_path):
    version, _ = publish(registry, name, tmp_path)
    assert registry.champion(f"{name}_best") is None
    copy = registry.copy(version, f"{name}_best")
    assert registry.champion(f"{name}_best") is None
    registry.set_champion(copy)
    champion = registry.champion(f"{name}_best")
    assert (champion.fingerprint, champion.tags["data_hash"], champion.description) == (
        "m1",
        "d",
        "description",
    )
    assert (fetch_model(address, f"models:/{name}_best@champion") / "data/model.pt2").read_text() == "program"
    assert registry.copy(version, f"{name}_best") == champion
    registry.tag(champion, {"promotion": "first", "data_hash": None})
    (again,) = registry.versions(f"{name}_best")
    assert dict(again.tags) == {"promotion": "first", "fingerprint": "m1", "files": version.tags["files"]}


def test_other_files_under_the_fingerprint_of_an_earlier_champion_are_a_version_of_their_own(
    registry, name, tmp_path
):
    version, _ = publish(registry, name, tmp_path)
    champion = registry.copy(version, f"{name}_best")
    other, _ = publish(registry, f"{name}_2", tmp_path, "m2", "another program")
    registry.tag(other, {"fingerprint": version.fingerprint})
    (other,) = registry.versions(f"{name}_2")
    assert other.fingerprint == champion.fingerprint
    assert registry.copy(other, f"{name}_best").number == champion.number + 1


def test_a_version_of_earlier_code_with_a_long_fingerprint_is_recognised(registry, address, name, tmp_path):
    """Its fingerprint has another tag, and its files are among those of its run."""
    client, fingerprint = MlflowClient(tracking_uri=address), "ab" * 32
    run = client.get_run(registry.run_of("t1", "e"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("earlier")
    client.log_artifacts(run.info.run_id, str(tmp_path / "model"), f"models/{fingerprint[:16]}")
    source, tags = (
        f"{run.info.artifact_uri}/models/{fingerprint[:16]}",
        {"mergershift.fingerprint": fingerprint},
    )
    client.create_registered_model(name)
    client.create_model_version(name, source, run.info.run_id, tags=tags)
    (earlier,) = registry.versions(name)
    assert publish(registry, name, tmp_path, fingerprint) == (earlier, False)
    copy = registry.copy(earlier, f"{name}_best")
    assert dict(copy.tags) == {
        "fingerprint": fingerprint[:12],
        "files": files_hash(registry.fetch(earlier)),
    }
    assert registry.copy(earlier, f"{name}_best").number == 1
    for version in (earlier, copy):
        assert (registry.fetch(version) / "MLmodel").read_text() == "earlier"


def test_a_version_is_a_model_of_its_run_and_both_pages_lead_to_each_other(registry, address, name, tmp_path):
    version, _ = publish(registry, name, tmp_path, f"{name}-1")
    client = MlflowClient(tracking_uri=address)
    run = client.get_run(version.run_id)
    assert run.outputs is not None
    ids = {output.model_id for output in run.outputs.model_outputs}
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{version.run_id}'")
    model = next(
        model for model in models if model.artifact_location == client.get_model_version(name, "1").source
    )
    assert model.model_id in ids
    assert model.status == "READY"
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": name, "version": 1}]


def test_an_interrupted_upload_is_completed_and_a_failed_one_leaves_nothing(
    registry, address, name, tmp_path, monkeypatch
):
    client = MlflowClient(tracking_uri=address)
    run = client.get_run(registry.run_of("t1", "e"))

    def models():
        found = client.search_logged_models([run.info.experiment_id], f"name = 'registered-{name[:12]}'")
        return [(model.model_id, str(model.status)) for model in found]

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifacts", fail)
        with pytest.raises(UserError, match="disk full"):
            publish(registry, name, tmp_path, name)
    assert models() == []
    assert registry.versions(name) == []
    left = client.create_logged_model(run.info.experiment_id, f"registered-{name[:12]}", run.info.run_id)
    version, _ = publish(registry, name, tmp_path, name)
    assert models() == [(left.model_id, "READY")]
    assert (registry.fetch(version) / "data/model.pt2").read_text() == "program"


def test_a_server_whose_runs_have_no_models_stores_the_files_with_the_run(
    registry, address, name, tmp_path, monkeypatch
):
    """MLflow 2 answers so to requests that it does not know."""

    def unknown(*_, **__):
        raise MlflowException("not found", error_code=databricks_pb2.ENDPOINT_NOT_FOUND)

    monkeypatch.setattr(MlflowClient, "search_logged_models", unknown)
    version, new = publish(registry, name, tmp_path, name, "older")
    assert new
    client = MlflowClient(tracking_uri=address)
    source = str(client.get_model_version(name, "1").source)
    assert f"{version.run_id}/artifacts/models/registered-" in source
    assert (registry.fetch(version) / "data/model.pt2").read_text() == "older"


def test_a_description_that_somebody_wrote_is_kept(registry, address, name, tmp_path):
    publish(registry, name, tmp_path)
    registry.describe_model(name, "ours")
    registry.describe_model(name, "other")
    assert MlflowClient(tracking_uri=address).get_registered_model(name).description == "ours"


def test_an_unknown_model_is_reported_in_two_lines(registry, address, name, tmp_path):
    publish(registry, name, tmp_path)
    for uri, message in {
        "mergershift": "is not a model URI",
        "models:/nobody/1": "has no model 'nobody'",
        f"models:/{name}/7": "has no version 7.\nIts versions: 1",
        f"models:/{name}@champion": "has no alias 'champion'",
    }.items():
        with pytest.raises(UserError, match=message) as caught:
            fetch_model(address, uri)
        assert str(caught.value).count("\n") == 1


def test_an_error_of_an_artifact_store_is_reported_in_two_lines(
    registry, address, name, tmp_path, monkeypatch
):
    """MLflow does not catch what an artifact store's library raises, here that it is not installed."""
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    client = MlflowClient(tracking_uri=address)
    experiment = client.create_experiment(name, artifact_location="gs://bucket/folder")
    run = client.create_run(experiment)
    for folder in ("cache", "model"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=r"files could not be stored: .*google") as storing:
        registry.publish(tmp_path / "model", name, run.info.run_id, "m", {}, "")
    assert registry.versions(name) == []
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
    with pytest.raises(UserError, match=r"could not be fetched: .*google") as fetching:
        fetch_model(address, f"models:/{name}/1")
    for caught in (storing, fetching):
        assert str(caught.value).count("\n") == 1
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    with pytest.raises(MlflowException, match=r"could not be listed: .*google"):
        PublishedRun(client, run).files({"config.yaml": b""})
