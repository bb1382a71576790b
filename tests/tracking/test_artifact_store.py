"""Files of runs and registered models, after their checkout has been moved and in folders of any name."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from mergershift.cells.records import RunSpec
from mergershift.core.database_files import sqlite_address
from mergershift.tracking import fetch_model, open_run, tracking_address
from mergershift.tracking.artifact_store import COLUMNS, located
from mergershift.tracking.model_registry import Registry

SPEC = RunSpec("training-1", "e", "cell", {"seed": 0}, {})
STRANGE = "ünï cödé #1 100% ok?"
CHAMPION = "models:/m@champion"


def addresses(project: Path) -> set[str]:
    """All addresses of local files in the project's database."""
    with sqlite3.connect(project / "mlflow.db") as database:
        rows = [row for table, column in COLUMNS for row in database.execute(f"SELECT {column} FROM {table}")]
    return {uri for (uri,) in rows if uri.startswith(("file:", "/"))}


def files(client: MlflowClient, run_id: str) -> set[str]:
    return {entry.path for entry in client.list_artifacts(run_id)}


def fill(project: Path) -> str:
    """Log a run with files, and register and promote a model; returns the id of the run."""
    run = open_run(tracking_address(None), SPEC)
    run.log_text("x", "before.txt")
    assert run.run_id is not None
    (project / "package").mkdir()
    (project / "package/model.txt").write_text("weights")
    registry = Registry(tracking_address(None))
    version, _ = registry.publish(project / "package", "candidates", run.run_id, "f" * 64, {}, "")
    registry.set_champion(registry.copy(version, "m"))
    return run.run_id


@pytest.fixture
def moved(database: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, str]:
    """The new and the old place of a project with a run and a champion, and the run's id."""
    run_id = fill(project)
    new = project.rename(project.with_name(STRANGE))
    monkeypatch.chdir(new)
    return new, project, run_id


def test_a_moved_checkout_keeps_its_files_and_its_champion(moved: tuple[Path, Path, str]) -> None:
    new, _, run_id = moved
    address = tracking_address(None)
    assert (fetch_model(address, CHAMPION) / "model.txt").read_text() == "weights"
    open_run(address, SPEC).log_text("y", "after.txt")
    (new / "package/model.txt").write_text("other weights")
    registry = Registry(address)
    other, created = registry.publish(new / "package", "candidates", run_id, "e" * 64, {}, "")
    assert created
    assert (registry.fetch(other) / "model.txt").read_text() == "other weights"
    assert [entry.name for entry in new.parent.iterdir()] == [STRANGE], "nothing is written elsewhere"


def test_programs_of_mlflow_find_them_once_the_project_has_used_the_database(
    moved: tuple[Path, Path, str], tmp_path: Path
) -> None:
    new, old, run_id = moved
    address = tracking_address(None)
    Registry(address)
    assert files(MlflowClient(tracking_uri=address), run_id) == {"before.txt", "config.yaml"}
    found = mlflow.artifacts.download_artifacts(CHAMPION, tracking_uri=address, registry_uri=address)
    assert Path(found, "model.txt").read_text() == "weights"
    assert {uri.startswith(f"{new.as_uri()}/ml") for uri in addresses(new)} == {True}
    assert not old.exists()


def test_another_place_of_the_same_database_in_use_at_the_same_time_changes_nothing(
    database: str, project: Path
) -> None:
    """A container that has the checkout mounted elsewhere sets the addresses while a training runs here."""
    run_id = fill(project)
    run = open_run(database, SPEC)
    registry = Registry(database)
    elsewhere = project.with_name("container") / "mlartifacts"
    with sqlite3.connect(project / "mlflow.db") as connection:
        for table, column in COLUMNS:
            here = (project / "mlartifacts").as_uri()
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (here, elsewhere.as_uri())
            )
    run.log_text("z", "during.txt")
    assert (registry.fetch(registry.resolve(CHAMPION)) / "model.txt").read_text() == "weights"
    assert (project / "mlartifacts" / run_id / "artifacts/during.txt").read_text() == "z"
    assert not elsewhere.parent.exists()


def test_a_copied_checkout_uses_its_own_files(
    database: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = fill(project)
    copied = project.with_name("copied")
    subprocess.run(["cp", "-a", project, copied], check=True)
    monkeypatch.chdir(copied)
    open_run(tracking_address(None), SPEC).log_text("y", "copied.txt")
    assert "copied.txt" in files(MlflowClient(tracking_uri=tracking_address(None)), run_id)
    assert not list(project.rglob("copied.txt"))


def test_addresses_that_are_not_of_a_former_place_stay(project: Path, tmp_path: Path) -> None:
    own = sqlite_address(project / "mlflow.db")
    (tmp_path / "shared/mlartifacts/7").mkdir(parents=True)
    for address, uri in {
        (own, "s3://bucket/mlartifacts/7"),
        (own, "mlflow-artifacts:/7"),
        (own, "models:/m/1"),
        (own, "file:///elsewhere/runs/7"),
        (own, (tmp_path / "shared/mlartifacts/7").as_uri()),
        (sqlite_address(tmp_path / "mlflow.db"), "file:///elsewhere/mlartifacts/7"),
        ("http://127.0.0.1:5000", "file:///elsewhere/mlartifacts/7"),
    }:
        assert located(address, uri) == uri
    here = (project / "mlartifacts/7").as_uri()
    for former in ("file:///old%20mlartifacts/mlartifacts/7", "/old#1/mlartifacts/7", here):
        assert located(own, former) == here


@pytest.mark.system
def test_the_web_interface_shows_files_after_a_move(moved: tuple[Path, Path, str]) -> None:
    new, _, run_id = moved
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mergershift", "ui", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(process, address)
        listed = json.load(urllib.request.urlopen(f"{address}/api/2.0/mlflow/artifacts/list?run_id={run_id}"))
        assert {file["path"] for file in listed["files"]} == {"before.txt", "config.yaml"}
        shown = urllib.request.urlopen(f"{address}/get-artifact?path=before.txt&run_uuid={run_id}")
        assert shown.read() == b"x"
        assert [entry.name for entry in new.parent.iterdir()] == [STRANGE], "nothing is written elsewhere"
    finally:
        os.killpg(process.pid, 9)
        process.wait(20)


def wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            urllib.request.urlopen(f"{address}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start within a minute")
