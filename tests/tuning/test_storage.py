"""What a study is, which way its objectives point, and how often a trial that kills its worker comes back."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from cells.samples import config_of, write_checkout
from mlflow import MlflowClient
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState
from postgresql import PostgreSQL
from tuning.samples import search_of

from mergershift.core.errors import UserError
from mergershift.evaluation import DOMAIN_DISTANCE
from mergershift.tracking.database import check_database
from mergershift.tracking.failures import Unusable
from mergershift.tuning.storage import grace_period, open_study

BOTH = ["source_balanced_accuracy", DOMAIN_DISTANCE]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"data_hash": "e" * 64},
        {"code_hash": "edited"},
        {"objectives": ["information_maximisation"]},
        {"pruning": True},
        {"space": {"network": {"limit": {"low": 1.0, "high": 100.0}}}},
    ],
)
def test_whatever_changes_a_trial_makes_another_study(changed: dict[str, Any]) -> None:
    assert search_of(**changed).digest != search_of().digest


def test_another_configuration_makes_another_study() -> None:
    assert replace(search_of(), config=config_of(limit=20.0)).digest != search_of().digest
    assert replace(search_of(), config=config_of(seed=1)).digest != search_of().digest


def test_what_chooses_from_a_front_belongs_to_a_study_that_has_one() -> None:
    other: dict[str, Any] = {"best_by": "source_validation_risk"}
    assert search_of(**other).digest == search_of().digest
    assert search_of(objectives=BOTH, **other).digest != search_of(objectives=BOTH).digest


@pytest.mark.parametrize(
    "changed", [{"trials": 99}, {"name": "other"}, {"storage": None}, {"heartbeat": 9}, {"retries": 9}]
)
def test_where_and_how_long_is_searched_makes_no_other_study(changed: dict[str, Any]) -> None:
    assert search_of(**changed).digest == search_of().digest


def test_a_study_does_not_go_on_with_other_data_or_code(checkout: Path) -> None:
    place: dict[str, Any] = {"storage": f"sqlite:///{checkout}/studies.db"}
    begun = open_study(search_of(**place))
    assert open_study(search_of(trials=9, **place)).user_attrs == begun.user_attrs
    further: tuple[dict[str, Any], ...] = ({"data_hash": "e" * 64}, {"code_hash": "edited"})
    for changed in further:
        with pytest.raises(UserError):
            open_study(search_of(**place, **changed))


def test_domains_are_brought_together_and_all_else_is_made_as_large_as_can_be(checkout: Path) -> None:
    study = open_study(search_of(objectives=BOTH))
    assert study.metric_names == list(BOTH)
    for values in ([0.9, 0.1], [0.8, 0.2], [0.7, 0.05]):
        study.add_trial(optuna.create_trial(values=values))
    assert [trial.number for trial in study.best_trials] == [0, 2], "the second is worse in both"


def die(study: optuna.Study) -> None:
    """Begin the next trial and never give a sign of life again."""
    storage = study._storage._backend  # type: ignore[attr-defined]
    assert isinstance(storage, RDBStorage)
    storage.record_heartbeat(study.ask()._trial_id)
    with storage.engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
        )
    fail_stale_trials(study)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_trial_that_kills_each_worker_is_given_up(checkout: Path, retries: int) -> None:
    study = open_study(search_of(retries=retries))
    for _ in range(retries):
        die(study)
        assert len(study.get_trials(states=(TrialState.WAITING,))) == 1
    die(study)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * (1 + retries)


def test_studies_do_not_share_mlflows_database(checkout: Path) -> None:
    path = checkout / "runs.db"
    address = f"sqlite:///{path}"
    MlflowClient(tracking_uri=address).search_experiments()
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"this database is MLflow's.*\nSet tuning\.storage") as caught:
        open_study(search_of(storage=address))
    assert str(caught.value).count("\n") == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("exists", [False, True])
def test_mlflow_does_not_share_the_studies_database(
    exists: bool, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of(storage=None)
    tracked = search.config.tracking.model_copy(update={"uri": None})
    search = replace(search, config=search.config.model_copy(update={"tracking": tracked}))
    if exists:
        open_study(search)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///optuna.db")
    with pytest.raises(UserError, match="this database is MLflow's"):
        open_study(search)
    assert (checkout / "optuna.db").exists() is exists


def test_studies_do_not_share_a_database_whose_tables_another_program_versions(checkout: Path) -> None:
    address = f"sqlite:///{checkout}/other.db"
    engine = sqlalchemy.create_engine(address)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
        connection.execute(sqlalchemy.text("INSERT INTO alembic_version VALUES ('4e5f')"))
    with pytest.raises(UserError, match="belongs to another program, whose tables have version 4e5f"):
        open_study(search_of(storage=address))
    assert sqlalchemy.inspect(engine).get_table_names() == ["alembic_version"]


def test_a_study_of_another_optuna_is_refused_with_the_command_that_upgrades_it(checkout: Path) -> None:
    address = f"sqlite:///{checkout}/studies.db"
    open_study(search_of(storage=address))
    with sqlalchemy.create_engine(address).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v2.6.0.a'"))
    with pytest.raises(UserError, match="`optuna storage upgrade --storage") as caught:
        open_study(search_of(storage=address))
    assert str(caught.value).count("\n") == 1


def test_a_living_worker_is_given_some_seconds_on_a_busy_machine() -> None:
    assert grace_period(search_of(heartbeat=1).tuning) == 10
    assert grace_period(search_of(heartbeat=30).tuning) == 60


@pytest.mark.system
def test_mlflow_and_optuna_keep_apart_on_a_database_server(checkout: Path, postgresql: str) -> None:
    open_study(search_of(storage=postgresql))
    with pytest.raises(Unusable, match="holds the studies of Optuna"):
        check_database(postgresql)
    engine = sqlalchemy.create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP SCHEMA public CASCADE"))
        connection.execute(sqlalchemy.text("CREATE SCHEMA public"))
    MlflowClient(tracking_uri=postgresql).search_experiments()
    before = sorted(sqlalchemy.inspect(engine).get_table_names())
    with pytest.raises(UserError, match="this database is MLflow's"):
        open_study(search_of(storage=postgresql))
    assert sorted(sqlalchemy.inspect(engine).get_table_names()) == before


@pytest.mark.system
def test_a_study_is_opened_as_soon_as_its_database_answers(
    checkout: Path, database_server: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    url = database_server.create("later")
    database_server.kill()
    starting = threading.Timer(2, database_server.start)
    starting.start()
    try:
        study = open_study(search_of(storage=url))
    finally:
        starting.join()
    assert study.trials == []
    notes = [record.getMessage() for record in caplog.records]
    assert "the study's database does not answer" in notes[0]
    assert "answers again after" in notes[-1]
