"""Runs can be logged to repeatedly: in a database file, on a real server, and without any server."""

import itertools
import logging
import socket
import subprocess
import time
from dataclasses import replace

import pytest
from cells.samples import penalty_of
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from mergershift.cells.code_version import read_code_version
from mergershift.cells.records import RunSpec
from mergershift.tracking import abandon, open_run, public, recorded_address, runs, tracking_address
from mergershift.tracking import server as tracking_server

EPOCHS = [{"epoch": float(n), "source_val_loss": 1.0 / (n + 1), "train_loss": 2.0} for n in range(6)]
CONFIG = {
    "seed": 0,
    "filters": {"name": "two"},
    "transfer": {"source": "pristine", "target": "noisy", "labelled": "source"},
    "adaptation": {"penalty": penalty_of("mmd")},
    "training": {"epochs": 3, "optimizer": {"lr": 0.001}},
    "choices": {"transfer": "pristine_to_noisy", "adaptation": "mmd"},
}
PARAMETERS = {
    "method": "mmd",
    "adaptation": "mmd",
    "filters": "two",
    "source": "pristine",
    "target": "noisy",
    "labels": "pristine",
    "learning_rate": "0.001",
    "epochs": "3",
    "seed": "0",
    "network": "unknown",
    "split": "unknown",
    "data": "unknown",
    "varied": "none",
}
NOBODY = "http://127.0.0.1:9"
number = itertools.count()


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.system)])
def address(request, database):
    if request.param == "file":
        return database
    return request.getfixturevalue("server").address


@pytest.fixture
def spec():
    """Specification of a training that no other test uses."""
    return RunSpec(f"training-{next(number)}", "e", "cell", CONFIG, {"data_hash": "d", "git_commit": None})


def stored(address, spec):
    """A client and the only run of a training."""
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(spec.experiment)
    assert experiment is not None
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.`mergershift.training` = '{spec.training}'"
    )
    return client, run


def history(address, spec, name):
    client, run = stored(address, spec)
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def test_a_training_has_one_run_however_often_it_is_resumed(address, spec):
    run = open_run(address, spec)
    run.log_epochs(EPOCHS[:2])
    again = open_run(address, spec)
    assert again.run_id == run.run_id
    again.log_epochs(EPOCHS)
    again.log_files({"figures/curve.png": b"png"})
    again.log_results({"target_entropy": 0.5})
    again.finish(EPOCHS)
    last = open_run(address, spec)
    last.log_results({"target_entropy": 0.5})
    last.finish(EPOCHS)
    client, found = stored(address, spec)
    assert found.info.run_id == run.run_id
    assert run.record({}).experiment_id == found.info.experiment_id
    assert found.info.status == "FINISHED"
    assert found.data.params.items() >= PARAMETERS.items()
    assert found.info.run_name == "mmd · two · pristine→noisy · s0"
    assert "Not evaluated yet." in found.data.tags["mlflow.note.content"]
    assert {entry.dataset.name for entry in found.inputs.dataset_inputs} == {"two-pristine", "two-noisy"}
    assert history(address, spec, "validation/source_loss") == [
        (n, e["source_val_loss"]) for n, e in enumerate(EPOCHS)
    ]
    assert history(address, spec, "validators/target_entropy") == [(0, 0.5)]
    assert {f.path for f in client.list_artifacts(run.run_id)} == {"config.yaml", "figures"}


def test_a_kill_just_after_the_run_was_created_leaves_one_run(address, spec, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(address, spec)
    assert stored(address, spec)[1].data.params == {}
    open_run(address, spec).finish(EPOCHS)
    assert stored(address, spec)[1].data.params.items() >= PARAMETERS.items()


def test_a_request_sent_twice_leaves_one_run(database, spec, monkeypatch):
    """The client repeats a request whose answer was lost."""
    create = MlflowClient.create_run

    def twice(*arguments, **named):
        create(*arguments, **named)
        return create(*arguments, **named)

    monkeypatch.setattr(MlflowClient, "create_run", twice)
    run = open_run(database, spec)
    run.finish(EPOCHS)
    _, found = stored(database, spec)
    assert found.info.run_id == run.run_id
    assert len(history(database, spec, "train/loss")) == len(EPOCHS)


def test_a_child_run_is_linked_to_its_parent(database, spec):
    child = RunSpec(f"{spec.training}-child", "e", "trial", {}, {}, parent=spec.training)
    early = open_run(database, child)
    assert "mlflow.parentRunId" not in stored(database, child)[1].data.tags
    parent = open_run(database, spec)
    assert open_run(database, child).run_id == early.run_id
    assert stored(database, child)[1].data.tags["mlflow.parentRunId"] == parent.run_id


def test_epochs_of_many_metrics_are_logged(database, spec):
    """MLflow accepts 1000 metrics in one request."""
    epochs = [{"epoch": float(n), **{f"m{k}": float(n * k) for k in range(300)}} for n in range(5)]
    open_run(database, spec).finish(epochs)
    assert history(database, spec, "validation/m299") == [(n, n * 299.0) for n in range(5)]


def test_nan_metrics_are_logged_only_once(database, spec):
    epochs = [{"epoch": 0.0, "loss": float("nan")}]
    for _ in range(2):
        run = open_run(database, spec)
        run.log_results({"target_entropy": float("nan")})
        run.finish(epochs)
    assert (
        len(history(database, spec, "validation/loss"))
        == len(history(database, spec, "validators/target_entropy"))
        == 1
    )


def test_an_abandoned_training_is_marked_as_killed(database, spec):
    open_run(database, spec)
    abandon(database, spec.training, "e")
    assert stored(database, spec)[1].info.status == "KILLED"


def test_a_run_deleted_during_training_is_restored(database, spec):
    run = open_run(database, spec)
    assert run.run_id is not None
    MlflowClient(tracking_uri=database).delete_run(run.run_id)
    open_run(database, spec).finish(EPOCHS)
    assert stored(database, spec)[1].info.run_id == run.run_id


def test_epochs_that_follow_each_other_within_seconds_are_sent_together(database, spec, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(runs.time, "monotonic", lambda: clock[0])
    run = open_run(database, spec)
    sent = []
    for count in range(1, 5):
        run.log_epochs(EPOCHS[:count])
        sent.append(len(history(database, spec, "train/loss")))
        clock[0] += runs.EPOCHS_EVERY / 2
    assert sent == [1, 1, 3, 3]
    run.finish(EPOCHS[:4])
    assert len(history(database, spec, "train/loss")) == 4


def test_without_a_server_a_training_warns_once_and_names_the_remedy(database, spec, caplog):
    caplog.set_level(logging.INFO)
    started = time.monotonic()
    run = open_run("http://name:secret@127.0.0.1:9", spec)
    for count in range(1, len(EPOCHS) + 1):
        run.log_epochs(EPOCHS[:count])
    run.log_text("diff", "git.diff")
    run.log_files({"figures/curve.png": b"png"})
    run.log_results({"target_entropy": 0.5})
    assert len(caplog.records) == 1
    run.finish(EPOCHS)
    assert time.monotonic() - started < 10
    assert run.run_id is None
    first, last = caplog.messages
    assert "does not answer" in first
    assert "secret" not in caplog.text
    assert (
        last
        == "cell: the run in MLflow is incomplete; run `mergershift sync` later to publish what is missing"
    )
    abandon(NOBODY, spec.training, "e")


def test_a_server_that_accepts_connections_but_never_answers_is_not_waited_for(
    project, spec, caplog, monkeypatch
):
    monkeypatch.setattr(tracking_server, "PROBE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        run = open_run(f"http://127.0.0.1:{silent.getsockname()[1]}", spec)
        for count in range(1, len(EPOCHS) + 1):
            run.log_epochs(EPOCHS[:count])
        assert time.monotonic() - started < 2, "waited once for all these epochs"
    assert caplog.text.count("does not answer: no answer in time") == 1


@pytest.mark.system
def test_no_metric_is_lost_when_a_server_stops_and_restarts_during_training(
    project, server, spec, caplog, monkeypatch
):
    """A training that began while the server was down gets one run, too."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(runs, "FIRST_WAIT", 0.2)
    monkeypatch.setattr(runs, "EPOCHS_EVERY", 0.0)
    address, later = server.address, replace(spec, training=f"{spec.training}-later")
    run = open_run(address, spec)
    run_id = run.run_id
    run.log_epochs(EPOCHS[:1])
    server.stop()
    try:
        run.log_epochs(EPOCHS[:2])
        run.log_text("diff", "git.diff")
        run.log_epochs(EPOCHS[:3])
        assert caplog.text.count("does not answer") == 1
        begun = open_run(address, later)
        begun.log_epochs(EPOCHS[:3])
        assert begun.run_id is None
    finally:
        server.start()
    time.sleep(1)
    run.log_epochs(EPOCHS[:4])
    assert "answers again" in caplog.text
    assert [step for step, _ in history(address, spec, "train/loss")] == [0, 1, 2, 3], (
        "sent before the training ends"
    )
    run.log_results({"target_entropy": 0.5})
    run.finish(EPOCHS)
    for name, shown in (("train_loss", "train/loss"), ("source_val_loss", "validation/source_loss")):
        assert history(address, spec, shown) == [(n, e[name]) for n, e in enumerate(EPOCHS)]
    client, found = stored(address, spec)
    assert (found.info.run_id, found.info.status) == (run_id, "FINISHED")
    assert {f.path for f in client.list_artifacts(run_id)} == {"config.yaml", "git.diff"}
    times = [m.timestamp for m in client.get_metric_history(run_id, "train/loss")]
    assert times[2] < times[3], "the times at which epochs ended, not those at which they were sent"
    begun.log_epochs(EPOCHS[:4])
    # If the training is killed here and resumed, it keeps its run.
    again = open_run(address, later)
    again.finish(EPOCHS)
    assert again.run_id == begun.run_id == stored(address, later)[1].info.run_id
    assert history(address, later, "train/loss") == [(n, 2.0) for n in range(len(EPOCHS))]


def test_a_lost_answer_duplicates_nothing(database, spec, monkeypatch):
    """The server has stored the metrics, but the client does not know."""
    log_batch = MlflowClient.log_batch
    monkeypatch.setattr(runs, "FIRST_WAIT", 0.0)
    run = open_run(database, spec)

    def store_without_answer(*arguments, **named):
        log_batch(*arguments, **named)
        raise MlflowException("timed out")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", store_without_answer)
        run.log_epochs(EPOCHS[:2])
    run.finish(EPOCHS)
    assert history(database, spec, "train/loss") == [(n, 2.0) for n in range(len(EPOCHS))]


def test_a_training_survives_an_artifact_store_that_is_full_for_a_while(database, spec, monkeypatch, caplog):
    def refused(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(runs, "FIRST_WAIT", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifact", refused)
        run = open_run(database, spec)
        run.log_epochs(EPOCHS)
        assert caplog.text.count("no space left") == 1
    run.finish(EPOCHS)
    client, found = stored(database, spec)
    assert [entry.path for entry in client.list_artifacts(found.info.run_id)] == ["config.yaml"]
    assert len(history(database, spec, "train/loss")) == len(EPOCHS)


def test_a_worktree_uses_the_database_of_the_main_checkout(project, monkeypatch):
    subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True)
    monkeypatch.chdir(project.parent / "other")
    assert tracking_address(None) == f"sqlite:///{project}/mlflow.db"


def test_the_configured_address_takes_precedence_over_the_environment(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team:5000")
    assert tracking_address(None) == "http://team:5000"
    assert tracking_address("http://mine:5000") == "http://mine:5000"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://team:5000", "http://team:5000"),
        ("http://bob:secret@team:5000/x", "http://team:5000/x"),
        ("http://bob:s@cr@t@team:5000", "http://team:5000"),
        ("postgresql+psycopg://bob@db/runs", "postgresql+psycopg://db/runs"),
        ("postgresql+psycopg://db/runs?x=1&password=secret", "postgresql+psycopg://db/runs?x=1&password=..."),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("sqlite:////home@x/a@b.db", "sqlite:////home@x/a@b.db"),
        ("no answer of //bob:p@ss@team and http://b@c/", "no answer of //team and http://c/"),
    ],
)
def test_addresses_are_displayed_without_credentials(address, expected):
    assert public(address) == expected


def test_a_finished_training_is_found_with_the_current_password(project, monkeypatch):
    secret = "http://bob:s@cret@team:5000"
    assert recorded_address(public(secret), secret) == secret
    assert recorded_address(public(secret), "http://other:5000") == public(secret)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    assert recorded_address(public(secret), None) == secret
    assert recorded_address(public(secret), "http://other:5000") == secret
    assert recorded_address("http://bob:old@team:5000", None) == secret
    assert recorded_address("http://alone:5000", None) == "http://alone:5000"
    assert recorded_address(None, None) == secret
    assert recorded_address(None, "http://other:5000") == "http://other:5000"


def test_lineage_contains_no_password(project):
    (project / "conf/study.yaml").write_text("uri: http://bob:s@cret@team:5000\n")
    (project / "src/new.py").write_text("ADDRESS = 'https://ann:pw@team/x'\n")
    diff = read_code_version(project).diff
    assert diff is not None
    assert "+uri: http://team:5000" in diff
    assert "+ADDRESS = 'https://team/x'" in diff


def test_lineage_covers_changed_and_new_files_but_not_those_of_dvc(project):
    clean = read_code_version(project)
    assert clean.commit is not None
    assert len(clean.commit) == 40
    assert not clean.dirty
    (project / "dvc.lock").write_text("x")
    (project / "data.dvc").write_text("x")
    assert not read_code_version(project).dirty
    (project / "conf/study.yaml").write_text("x")
    (project / "src/new.py").write_bytes("# né\nx = 1\n".encode("latin-1"))
    dirty = read_code_version(project)
    assert dirty.dirty
    assert dirty.diff is not None
    assert "conf/study.yaml" in dirty.diff
    assert "+++ b/src/new.py" in dirty.diff
    assert "+x = 1" in dirty.diff


def test_outside_git_there_is_no_commit(tmp_path):
    assert read_code_version(tmp_path).commit is None
    assert not read_code_version(tmp_path).dirty


def test_a_relative_database_path_is_resolved_against_the_main_checkout(project, monkeypatch):
    monkeypatch.chdir(project / "conf")
    assert tracking_address("sqlite:///runs.db") == f"sqlite:///{project}/runs.db"
    assert tracking_address("sqlite:////elsewhere/runs.db") == "sqlite:////elsewhere/runs.db"
    assert tracking_address(None) == f"sqlite:///{project}/mlflow.db"
    assert tracking_address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
