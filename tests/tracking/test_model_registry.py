"""Versions of registered models in a database file: one per model, found by name, alias and number."""

import sys

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mergershift.core.errors import UserError
from mergershift.tracking import fetch_model
from mergershift.tracking.find_run import TRAINING_TAG
from mergershift.tracking.model_registry import FINGERPRINT, Registry
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
    return registry.publish(folder, name, run_id, {FINGERPRINT: fingerprint, "data_hash": "d"}, "description")


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
    copy = registry.copy(version, f"{name}_best", {"promotion.outcome": "first"})
    assert registry.champion(f"{name}_best") is None
    registry.set_champion(copy)
    champion = registry.champion(f"{name}_best")
    assert (
        champion.tags.items() >= {FINGERPRINT: "m1", "promotion.outcome": "first", "data_hash": "d"}.items()
    )
    assert (fetch_model(address, f"models:/{name}_best@champion") / "data/model.pt2").read_text() == "program"
    again = registry.copy(version, f"{name}_best", {"promotion.outcome": "again"})
    assert again.number == 1
    assert registry.versions(f"{name}_best")[0].tags["promotion.outcome"] == "again"


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
        registry.publish(tmp_path / "model", name, run.info.run_id, {FINGERPRINT: "m"}, "")
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
