"""Runs that can be written to again and again, on a database file and on a real server."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import matplotlib.figure
import pytest
from mlflow import MlflowClient

from mergershift.errors import UserError
from mergershift.tracking import abandon, existing_run, lineage, open_run, tracking_address

EPOCHS = [{"epoch": float(n), "source_val_loss": 1.0 / (n + 1), "train_loss": 2.0} for n in range(3)]
CONFIG = {"training": {"epochs": 3, "optimizer": {"lr": 0.001}}, "seed": 0}


@pytest.fixture
def server(project):
    """An MLflow server on loopback, as a team runs it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    store = [
        "--backend-store-uri",
        f"sqlite:///{project}/server.db",
        "--artifacts-destination",
        str(project / "art"),
    ]
    process = subprocess.Popen(
        [*command, *store],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


@pytest.fixture(params=["file", pytest.param("server", marks=pytest.mark.slow)])
def address(request, project):
    return tracking_address(None) if request.param == "file" else request.getfixturevalue("server")


def test_one_training_is_one_run_however_often_it_is_taken_up(address):
    def take_up():
        return open_run(address, "e", "training-1", "cell", CONFIG, {"data_hash": "d", "git_commit": None})

    run = take_up()
    run.log_epochs(EPOCHS[:2])
    again = take_up()
    assert again.run_id == run.run_id
    again.log_epochs(EPOCHS)
    again.log_figures({"curve": matplotlib.figure.Figure()})
    again.finish(EPOCHS)
    take_up().finish(EPOCHS)
    client = MlflowClient(tracking_uri=address)
    found = client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"training.epochs": "3", "training.optimizer.lr": "0.001", "seed": "0"}
    assert found.data.tags["data_hash"] == "d"
    history = client.get_metric_history(run.run_id, "source_val_loss")
    assert [(m.step, m.value) for m in history] == [(n, e["source_val_loss"]) for n, e in enumerate(EPOCHS)]
    assert {f.path for f in client.list_artifacts(run.run_id)} == {"config.yaml", "figures"}
    assert len(client.search_runs([found.info.experiment_id])) == 1


def test_an_abandoned_training_is_marked_as_killed(project):
    address = tracking_address(None)
    run = open_run(address, "e", "training-1", "cell", CONFIG, {})
    abandon(address, "training-1", "e")
    assert MlflowClient(tracking_uri=address).get_run(run.run_id).info.status == "KILLED"


def test_the_database_is_the_main_checkouts_even_in_a_worktree(project, monkeypatch):
    subprocess.run(["git", "worktree", "add", "-q", "../other"], cwd=project, check=True)
    monkeypatch.chdir(project.parent / "other")
    assert tracking_address(None) == f"sqlite:///{project}/mlflow.db"


def test_an_address_from_the_environment_or_the_configuration(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://team:5000")
    assert tracking_address(None) == "http://team:5000"
    assert tracking_address("http://mine:5000") == "http://mine:5000"


def test_a_run_that_the_server_does_not_know(project):
    address = tracking_address(None)
    open_run(address, "e", "training-1", "cell", CONFIG, {})
    assert existing_run(address, "0" * 32) is None


@pytest.mark.slow
def test_a_server_that_is_down_is_said_in_two_lines(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="MLflow does not answer") as caught:
        open_run("http://127.0.0.1:9", "e", "training-1", "cell", CONFIG, {})
    assert str(caught.value).count("\n") == 1


@pytest.mark.slow
def test_a_server_lost_in_mid_training_loses_no_epoch(project, server, monkeypatch, caplog):
    run = open_run(server, "e", "training-1", "cell", CONFIG, {})
    real = run._client
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run.log_epochs(EPOCHS[:1])
    run._client = MlflowClient(tracking_uri="http://127.0.0.1:9")
    run.log_epochs(EPOCHS[:2])
    assert "MLflow does not answer" in caplog.text
    run._client = real
    run.log_epochs(EPOCHS)
    history = real.get_metric_history(run.run_id, "train_loss")
    assert [m.step for m in history] == [0, 1, 2]


def test_lineage_sees_changed_and_new_files_but_not_dvcs(project):
    clean = lineage(project)
    assert len(clean.commit) == 40
    assert not clean.dirty
    (project / "dvc.lock").write_text("x")
    (project / "data.dvc").write_text("x")
    assert not lineage(project).dirty
    (project / "conf/study.yaml").write_text("x")
    (project / "src/new.py").write_bytes("# né\nx = 1\n".encode("latin-1"))
    dirty = lineage(project)
    assert dirty.dirty
    assert "conf/study.yaml" in dirty.diff
    assert "+++ b/src/new.py" in dirty.diff
    assert "+x = 1" in dirty.diff


def test_outside_git_there_is_no_commit(tmp_path):
    assert lineage(tmp_path).commit is None
    assert not lineage(tmp_path).dirty


def test_a_relative_database_lies_in_the_main_checkout(project, monkeypatch):
    monkeypatch.chdir(project / "conf")
    assert tracking_address("sqlite:///runs.db") == f"sqlite:///{project}/runs.db"
    assert tracking_address("sqlite:////elsewhere/runs.db") == "sqlite:////elsewhere/runs.db"
    assert tracking_address(None) == f"sqlite:///{project}/mlflow.db"
    assert tracking_address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
