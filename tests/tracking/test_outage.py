"""MLflow's server with login loses its PostgreSQL for a while: runs are complete afterwards, and none is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from postgresql import PostgreSQL, postgresql_server
from registry.samples import facts_of, program_of, write_package
from tracking.samples import TRAINING
from tracking.server import ADMIN, Server

from mergershift.cells.layout import EPOCHS as EPOCHS_FILE
from mergershift.cells.layout import RUN
from mergershift.core.errors import UserError
from mergershift.registry import WEIGHTS
from mergershift.tracking import missed, open_run, runs
from mergershift.tracking.missed import publish_missed
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.sync import sync

pytestmark = pytest.mark.system

EPOCHS = [{"epoch": float(number), "train_loss": 1.0 / (number + 1)} for number in range(4)]


@dataclass
class Tracking:
    """A server and the database that it needs."""

    address: str
    database: PostgreSQL

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.database.kill()
        try:
            yield
        finally:
            self.database.start()

    def run_of(self, training: str) -> tuple[str, list[int], set[str]]:
        """Status, logged epochs and files of the only run of a training."""
        client = MlflowClient(tracking_uri=self.address)
        found = client.get_experiment_by_name("e")
        assert found is not None
        (run,) = client.search_runs([found.experiment_id], f"tags.`mergershift.training` = '{training}'")
        history = client.get_metric_history(run.info.run_id, "train/loss")
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        return run.info.status, sorted(point.step for point in history), files


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as database:
        folder = tmp_path_factory.mktemp("server")
        server = Server(folder, database.create("mlflow"), database.create("logins"))
        server.start()
        try:
            yield Tracking(server.address, database)
        finally:
            server.stop()


@pytest.fixture
def tracking(started: Tracking, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    for name, value in ADMIN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(runs, "FIRST_WAIT", 0.0)
    return started


def test_a_training_goes_on_and_its_run_is_complete_afterwards(tracking: Tracking) -> None:
    begun = open_run(tracking.address, replace(TRAINING, training="begun"))
    begun.log_epochs(EPOCHS[:1])
    with tracking.outage():
        begun.log_epochs(EPOCHS[:2])
        begun.log_files({"notes.txt": b"x"})
        later = open_run(tracking.address, replace(TRAINING, training="later"))
        later.log_epochs(EPOCHS[:2])
        assert later.run_id is None
    for run in (begun, later):
        run.log_epochs(EPOCHS[:3])
        run.finish(EPOCHS)
    assert tracking.run_of("begun") == ("FINISHED", [0, 1, 2, 3], {"config.yaml", "notes.txt"})
    assert tracking.run_of("later") == ("FINISHED", [0, 1, 2, 3], {"config.yaml"})


def test_the_sessions_that_a_restart_ends_cost_nothing(tracking: Tracking) -> None:
    run = open_run(tracking.address, replace(TRAINING, training="restarted"))
    tracking.database.restart()
    run.finish(EPOCHS)
    assert tracking.run_of("restarted") == ("FINISHED", [0, 1, 2, 3], {"config.yaml"})


def test_what_ended_without_the_database_is_published_at_the_end(
    tracking: Tracking, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`repro` and `tune` end with `publish_missed`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.address)
    publish_missed()
    assert capsys.readouterr().out == "", "nothing has been missed"
    record = project / "state/tuning/search/trial-0000-record"
    record.mkdir(parents=True)
    with tracking.outage():
        run = open_run(tracking.address, replace(TRAINING, training="ended"))
        run.record({"target_entropy": -0.5}).write(record / RUN)
        pd.DataFrame(EPOCHS).to_csv(record / EPOCHS_FILE, index=False)
        run.finish(EPOCHS)
        assert missed.remembered()
        publish_missed()
        with pytest.raises(UserError, match=r"\(503\): its database does not.*\nStart the server's database"):
            sync()
        assert missed.remembered()
    publish_missed()
    assert "1 training: 1 published" in capsys.readouterr().out
    assert not missed.remembered()
    assert tracking.run_of("ended") == ("FINISHED", [0, 1, 2, 3], {"run.json"})
    assert sync().outcomes == {"complete": 1}


def test_a_registration_that_fails_is_repeated_as_a_whole(tracking: Tracking, tmp_path: Path) -> None:
    facts, program = facts_of(), program_of()
    package = write_package(tmp_path / "package", facts, program)
    fingerprint = facts.fingerprint(package / WEIGHTS)
    open_run(tracking.address, replace(TRAINING, training=facts.training)).finish(EPOCHS)
    registry = Registry(tracking.address)
    run_id = registry.run_of(facts.training, "e")
    assert run_id is not None

    def register() -> tuple[str, bool]:
        version, new = registry.publish(package, "candidates", run_id, fingerprint, {}, "")
        return version.uri, new

    with tracking.outage(), pytest.raises(UserError) as caught:
        register()
    assert str(caught.value).count("\n") == 1
    assert "(503): its database does not" in str(caught.value)
    uri, new = register()
    assert new
    assert register() == (uri, False)
    (version,) = registry.versions("candidates")
    with tracking.outage(), pytest.raises(UserError, match=r"\(503\): its database does not"):
        registry.set_champion(version)
    registry.set_champion(version)
    champion = registry.champion("candidates")
    assert champion is not None
    assert champion.uri == uri
