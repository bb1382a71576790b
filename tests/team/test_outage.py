"""A team's PostgreSQL is gone for a minute while a study and a search run: nothing is lost, nothing doubled."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from checkouts import copy, link
from mlflow import MlflowClient
from mlflow.entities import Run
from optuna.trial import TrialState
from postgresql import PostgreSQL, postgresql_server
from studies import checkpoint, environment, leave_page_out, write_study
from tracking.server import ADMIN, Server

from mergershift.config import compose
from mergershift.images import prepare
from mergershift.tracking.find_run import TRAINING_TAG

pytestmark = pytest.mark.team

SECONDS = 60
"""How long the database is gone."""
METHODS, EPOCHS = ("paced", "mmd", "coral"), 11
TRIALS, TRIAL_EPOCHS = 4, 8
LOSS = "train/loss"
# Time passes without work, so that as much is under way on a quick machine as on a slow one.
PACED = '''
"""Training on the labelled source alone, at a walking pace."""

import time

from torch import Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.networks import Activations


class Paced(Adaptation):
    uses_target = False

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return source.features.new_zeros(())
'''
CONFIGURATION = """
penalty:
  _target_: mergershift.adaptation.paced.Paced
  seconds: 3.0
weighting:
  _target_: mergershift.adaptation.weighting.Fixed
  trade_off: 0.0
"""


@dataclass
class Team:
    """The checkouts of two people, and the servers that they share."""

    study: Path
    search: Path
    database: PostgreSQL
    server: Server
    studies: str

    def begin(self, folder: Path, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of the project in one of the checkouts; its output goes to the file `log` there."""
        with (folder / "log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mergershift", *command],
                cwd=folder,
                stdout=log,
                stderr=log,
                env=environment(folder) | self.variables,
                start_new_session=True,
            )

    def sync(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Publish what is missing of a checkout's trainings."""
        command = [sys.executable, "-m", "mergershift", "sync"]
        variables = environment(folder) | self.variables
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)

    @property
    def variables(self) -> dict[str, str]:
        return ADMIN | {"MLFLOW_TRACKING_URI": self.server.address}

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.server.address)

    def runs(self) -> list[Run]:
        """All runs of both people."""
        found = self.client.get_experiment_by_name("mergershift")
        return list(self.client.search_runs([found.experiment_id])) if found else []


@pytest.fixture
def team(
    committed: Path,
    sample: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Team]:
    study, search = tmp_path / "study", tmp_path / "search"
    for folder in (study, search):
        copy(committed, folder)
        link(sample, folder / "data")
        (folder / "src/mergershift/adaptation/paced.py").write_text(PACED)
        (folder / "conf/adaptation/paced.yaml").write_text(CONFIGURATION)
        (folder / "conf/tuning/paced.yaml").write_text("defaults: [_common, _self_]\n")
    write_study(study, *METHODS)
    (study / "conf/training/demo.yaml").write_text(
        f"defaults: [default, _self_]\nepochs: {EPOCHS}\ncandidates: 2\nbatch_size: 64\n"
    )
    leave_page_out(study)  # which would publish everything once more
    split = compose(["filters=two"], committed / "conf").split
    (search / "outputs").mkdir()
    prepare(sample, "two", split, search / "outputs/prepared/two-by_galaxy")
    for name, value in ADMIN.items():
        monkeypatch.setenv(name, value)
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as database:
        (tmp_path / "server").mkdir()
        server = Server(tmp_path / "server", database.create("mlflow"), database.create("logins"))
        server.start()
        try:
            yield Team(study, search, database, server, database.create("studies"))
        finally:
            server.stop()


def test_a_minute_without_the_database_loses_and_doubles_nothing(team: Team) -> None:
    settings = ["filters=two", "adaptation=paced", "adaptation.penalty.seconds=0.5"]
    settings += [f"training.epochs={TRIAL_EPOCHS}", "training.batch_size=64"]
    tuning = {"storage": team.studies, "name": "ours", "trials": TRIALS, "pruning": "false", "heartbeat": 2}
    settings += [f"tuning.{key}={value}" for key, value in tuning.items()]
    study = team.begin(team.study, "repro", "--jobs", "2")
    search = team.begin(team.search, "tune", "--workers", "2", *settings)
    try:
        _wait_until_both_are_under_way(team, study, search)
        _take_the_database_away(team, study, search)
        for process, folder in ((search, team.search), (study, team.study)):
            assert process.wait(300) == 0, (folder / "log").read_text()
    finally:
        for process in (search, study):
            process.terminate()
            process.wait(60)
    assert "the study's database answers again after" in (team.search / "log").read_text()
    _check_runs(team)
    _check_search(team)
    for folder, count in ((team.study, len(METHODS)), (team.search, TRIALS + 1)):
        done = team.sync(folder)
        assert f"{count} trainings: 0 published to {team.server.address}, {count} already" in done.stdout


def _wait_until_both_are_under_way(team: Team, *processes: subprocess.Popen[bytes]) -> None:
    """Wait until two trials and a training have ended an epoch and go on."""
    deadline = time.monotonic() + 300
    engine = sqlalchemy.create_engine(team.studies)
    try:
        while _trials_under_way(engine) < 2 or not checkpoint(team.study, "paced").is_file():
            logs = "".join((folder / "log").read_text() for folder in (team.study, team.search))
            assert time.monotonic() < deadline, logs
            assert all(process.poll() is None for process in processes), logs
            time.sleep(0.5)
    finally:
        engine.dispose()


def _trials_under_way(engine: sqlalchemy.Engine) -> int:
    if "trial_intermediate_values" not in sqlalchemy.inspect(engine).get_table_names():
        return 0
    query = (
        "SELECT count(DISTINCT trials.trial_id) FROM trials JOIN trial_intermediate_values USING (trial_id) "
        "WHERE state = 'RUNNING'"
    )
    with engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text(query)).scalar_one())


def _take_the_database_away(
    team: Team, study: subprocess.Popen[bytes], search: subprocess.Popen[bytes]
) -> None:
    team.database.kill()
    time.sleep(SECONDS)
    assert study.poll() is None, "the study is still under way"
    assert search.poll() is None, "the search waits"
    team.database.start()


def _check_runs(team: Team) -> None:
    runs = team.runs()
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags[TRAINING_TAG] for run in runs}) == len(runs)
    kinds = {"training": len(METHODS), "search": 1, "trial": TRIALS}
    assert Counter(run.data.tags["kind"] for run in runs) == kinds
    for run in runs:
        files = {file.path for file in team.client.list_artifacts(run.info.run_id)}
        kind = run.data.tags["kind"]
        assert {"config.yaml", "run.json"} <= files
        if kind != "search":
            epochs = EPOCHS if kind == "training" else TRIAL_EPOCHS
            for metric in (LOSS, "validation/source_loss"):
                history = team.client.get_metric_history(run.info.run_id, metric)
                assert sorted(point.step for point in history) == list(range(epochs))
        if kind == "training":
            assert {"selection.json", "validators.csv", "figures"} <= files
            assert "target/auc" in run.data.metrics


def _check_search(team: Team) -> None:
    study = optuna.load_study(study_name="ours", storage=team.studies)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS, "none was repeated"
    for trial in study.trials:
        assert sorted(trial.intermediate_values) == list(range(TRIAL_EPOCHS))
    assert (team.search / "conf/experiment/tuned_paced.yaml").is_file()
