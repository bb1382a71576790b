"""What a study's storage does when an answer of its database is lost, and when the database was gone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.study import StudyDirection
from optuna.trial import TrialState
from postgresql import PostgreSQL

from mergershift.tuning import patience, study_storage
from mergershift.tuning.patience import Patience
from mergershift.tuning.storage import quiet
from mergershift.tuning.study_storage import StudyStorage, patience_of


def storage_of(url: str, **settings: Any) -> StudyStorage:
    quiet()
    options: dict[str, Any] = {"heartbeat": 1, "grace_period": 60, "retries": 3, "engine": {}}
    return StudyStorage(url, Patience(settings.pop("patience", 30), "db"), **(options | settings))


@dataclass
class Database:
    """A database whose next answer can be lost, after or before what it was asked for is stored."""

    url: str
    lose: bool = False
    stored: bool = True

    def storage(self) -> StudyStorage:
        storage = storage_of(self.url)
        store = storage.engine.dialect.do_commit

        def commit(connection: Any) -> None:
            losing, self.lose = self.lose, False
            if self.stored or not losing:
                store(connection)
            if losing:
                raise sqlite3.OperationalError("server closed the connection unexpectedly")

        storage.engine.dialect.do_commit = commit  # type: ignore[method-assign, assignment]
        return storage


@pytest.fixture(params=[True, False], ids=["stored", "not stored"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(patience, "RETRY_SECONDS", 0)
    monkeypatch.setattr(optuna.storages._rdb.storage.random, "random", lambda: 0.0)
    return Database(f"sqlite:///{tmp_path}/studies.db", stored=request.param)


def study_on(storage: StudyStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="ours", load_if_exists=True)


def seen(database: Database) -> list[tuple[TrialState, dict[str, Any], list[float] | None, dict[int, float]]]:
    """The trials as another process sees them."""
    trials = study_on(storage_of(database.url)).trials
    return [(trial.state, trial.params, trial.values, trial.intermediate_values) for trial in trials]


ACCESSES: dict[str, Callable[[optuna.Study, optuna.Trial], object]] = {
    "begin": lambda study, trial: study.ask(),
    "enqueue": lambda study, trial: study.enqueue_trial({"x": 1.0}, user_attrs={"from": "me"}),
    "suggest": lambda study, trial: trial.suggest_float("y", 3, 3),
    "report": lambda study, trial: trial.report(0.5, 1),
    "attribute": lambda study, trial: trial.set_user_attr("worker", "here"),
    "complete": lambda study, trial: study.tell(trial, 0.25),
    "prune": lambda study, trial: study.tell(trial, state=TrialState.PRUNED),
    "fail": lambda study, trial: study.tell(trial, state=TrialState.FAIL),
    "heartbeat": lambda study, trial: study._storage.record_heartbeat(trial._trial_id),  # type: ignore[attr-defined]
    "read": lambda study, trial: study.trials,
}


@pytest.mark.parametrize("access", ACCESSES)
def test_an_access_whose_answer_is_lost_has_its_effect_once(access: str, database: Database) -> None:
    other = Database(f"{database.url}.other")
    for where in (other, database):
        study = study_on(where.storage())
        trial = study.ask()
        where.lose = where is database
        ACCESSES[access](study, trial)
        assert not where.lose
    assert seen(database) == seen(other)


def test_a_queued_trial_is_begun_by_the_worker_whose_answer_was_lost(database: Database) -> None:
    study = study_on(database.storage())
    study.enqueue_trial({"x": 0.5})
    database.lose = True
    assert study.ask().suggest_float("x", 0, 1) == 0.5
    assert [state for state, *_ in seen(database)] == [TrialState.RUNNING]


def test_a_study_is_created_once_although_the_answer_is_lost(database: Database) -> None:
    storage = database.storage()
    database.lose = True
    assert study_on(storage).trials == []
    assert len(storage.get_all_studies()) == 1


def test_a_trial_that_another_worker_has_failed_meanwhile_is_not_ours(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.stored = False
    study = study_on(database.storage())
    trial = study.ask()
    other = study_on(storage_of(database.url))

    def wait(self: object, seconds: float) -> None:
        other.tell(trial.number, state=TrialState.FAIL)

    monkeypatch.setattr(patience_of(study)._over, "wait", wait.__get__(patience_of(study)._over))
    database.lose = True
    with pytest.raises(UpdateFinishedTrialError):
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def test_trials_that_are_queued_again_are_trials_of_their_own(tmp_path: Path) -> None:
    study = study_on(storage_of(f"sqlite:///{tmp_path}/studies.db"))
    study.enqueue_trial({"x": 0.5})
    for _ in range(2):
        trial = study.ask()
        study.tell(trial, state=TrialState.FAIL)
        frozen = study.trials[trial.number]
        study._storage._backend.heartbeat_stale_trial_callback(study, frozen)  # type: ignore[attr-defined]
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2 + [TrialState.WAITING]


def test_a_trial_without_any_heartbeat_is_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is queued again already, whose attributes are those of its first worker."""
    study = study_on(storage_of(f"sqlite:///{tmp_path}/studies.db"))
    study.enqueue_trial({"x": 0.5})
    now = time.monotonic()
    for number in range(2):
        study.ask().set_user_attr("worker", "gone:1")
        for later in (0, 59, 61):
            monkeypatch.setattr(study_storage.time, "monotonic", lambda moment=now + later: moment)
            fail_stale_trials(study)
            states = [trial.state for trial in study.trials]
            assert (states[-1] == TrialState.WAITING) == (later == 61)
        assert len(study.trials) == number + 2


@pytest.mark.system
def test_no_living_trial_is_presumed_dead_after_an_outage(database_server: PostgreSQL) -> None:
    url, grace = database_server.create("ours"), 2
    ours, theirs = (study_on(storage_of(url, grace_period=grace)) for _ in range(2))
    living, dead = ours.ask(), ours.ask()
    ours._storage.record_heartbeat(dead._trial_id)  # type: ignore[attr-defined]
    with get_heartbeat_thread(living._trial_id, ours._storage):
        time.sleep(0.5)
        database_server.kill()
        time.sleep(grace + 1)
        database_server.start()
        began, found = time.monotonic(), theirs.trials
        while not any(trial.state == TrialState.WAITING for trial in found):
            assert time.monotonic() - began < 20
            fail_stale_trials(theirs)
            found = theirs.trials
            time.sleep(0.05)
    assert time.monotonic() - began > grace
    states = [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]
    assert [trial.state for trial in found] == states


@pytest.mark.system
@pytest.mark.parametrize("outage", ["restart", "kill"])
def test_accesses_outlive_a_server_that_ends_their_sessions(outage: str, database_server: PostgreSQL) -> None:
    url = database_server.create(outage)
    study = study_on(storage_of(url))
    trial = study.ask()
    if outage == "kill":
        database_server.kill()
        database_server.start()
    else:
        database_server.restart()
    trial.report(0.5, 0)
    trial.set_user_attr("worker", "here")
    study.tell(trial, 0.25)
    (found,) = study_on(storage_of(url)).trials
    assert (found.state, found.value, found.intermediate_values) == (TrialState.COMPLETE, 0.25, {0: 0.5})


@pytest.mark.system
def test_a_server_that_stays_away_ends_the_search(database_server: PostgreSQL) -> None:
    study = study_on(storage_of(database_server.create("away"), patience=2))
    trial = study.ask()
    database_server.kill()
    began = time.monotonic()
    try:
        study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        with pytest.raises(patience.FAILURES):
            trial.report(0.5, 0)
    finally:
        database_server.start()
    assert 2 <= time.monotonic() - began < 4, "the time counts from the first access that failed"
    assert study._storage.get_study_name_from_id(study._study_id) == "ours"
    assert study.directions == [StudyDirection.MINIMIZE]
