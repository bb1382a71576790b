"""What a study is, which way its objectives point, and how often a trial that kills its worker comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from cells.samples import config_of, write_checkout
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import TrialState
from tuning.samples import search_of

from mergershift.core.errors import UserError
from mergershift.evaluation import DOMAIN_DISTANCE
from mergershift.tuning.storage import open_study

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
    other = {"best_by": "source_validation_risk"}
    assert search_of(**other).digest == search_of().digest
    assert search_of(objectives=BOTH, **other).digest != search_of(objectives=BOTH).digest


@pytest.mark.parametrize(
    "changed", [{"trials": 99}, {"name": "other"}, {"storage": None}, {"heartbeat": 9}, {"retries": 9}]
)
def test_where_and_how_long_is_searched_makes_no_other_study(changed: dict[str, Any]) -> None:
    assert search_of(**changed).digest == search_of().digest


def test_a_study_does_not_go_on_with_other_data_or_code(checkout: Path) -> None:
    place = {"storage": f"sqlite:///{checkout}/studies.db"}
    begun = open_study(search_of(**place))
    assert open_study(search_of(trials=9, **place)).user_attrs == begun.user_attrs
    for changed in ({"data_hash": "e" * 64}, {"code_hash": "edited"}):
        with pytest.raises(UserError):
            open_study(search_of(**place, **changed))


def test_domains_are_brought_together_and_all_else_is_made_as_large_as_can_be(checkout: Path) -> None:
    study = open_study(search_of(objectives=BOTH))
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
