"""Which trial wins, and that its values are those that are written."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import optuna
import pytest
import yaml
from cells.samples import write_checkout
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState
from tuning.samples import LIMIT, search_of

from mergershift.archive import images_of
from mergershift.core.errors import UserError
from mergershift.evaluation import DOMAIN_DISTANCE
from mergershift.tuning.endings import REASON, WHY
from mergershift.tuning.outcome import figures, summary, table, winner, write_experiment


def test_of_a_front_the_validator_named_beforehand_takes_the_best() -> None:
    search = search_of(objectives=["source_balanced_accuracy", DOMAIN_DISTANCE])
    study = optuna.create_study(directions=search.directions)
    for values, score in (
        ([0.9, 0.3], 0.1),
        ([0.8, 0.2], 0.5),
        ([0.7, 0.1], 0.4),
        ([0.75, 0.15], 0.5),
        ([0.6, 0.4], 0.9),  # behind the front, however well it is judged
    ):
        study.add_trial(optuna.create_trial(values=values, user_attrs={search.best_by: score}))
    assert winner(study, search).number == 1, "the earlier of two that are equally good"


def test_the_winners_values_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    search = search_of()
    study = optuna.create_study(directions=search.directions)
    drawn_from: dict[str, BaseDistribution] = {LIMIT: FloatDistribution(1.0, 200.0)}
    for limit, accuracy in ((10.0, 0.6), (20.0, 0.9), (30.0, 0.7)):
        params = {LIMIT: limit}
        study.add_trial(optuna.create_trial(params=params, distributions=drawn_from, value=accuracy))
    best = winner(study, search)
    assert best.number == 1
    written = yaml.safe_load(write_experiment(search, study, best).read_text())
    assert written["network"]["limit"] == 20.0


def test_a_search_without_a_result_says_why_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    search = search_of()
    study = optuna.create_study(directions=search.directions)
    why = {WHY: "failed", REASON: "MemoryError"}
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs=why))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    study.add_trial(optuna.create_trial(state=TrialState.PRUNED, user_attrs={WHY: "diverged"}))
    with pytest.raises(
        UserError, match=r"none of 2 trials was completed \(1 failed, 1 diverged, .* MemoryError\)"
    ):
        winner(study, search)
    assert not (tmp_path / "checkout/conf/experiment" / f"{search.experiment}.yaml").exists()


def test_the_table_says_why_a_trial_failed() -> None:
    search = search_of()
    study = optuna.create_study(directions=search.directions)
    reason = "ValueError: dropout is 1.5, expected 0 <= dropout < 1"
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, user_attrs={WHY: "failed", REASON: reason}))
    study.add_trial(optuna.create_trial(value=0.5))
    rows = table(search, study)
    assert rows["state"].tolist() == ["failed", "complete"]
    assert rows["reason"].tolist() == [reason, ""]
    facts = summary(search, study, winner(study, search))
    assert (facts["completed"], facts["pruned"], facts["failed"]) == (1, 0, 1)


@pytest.mark.parametrize("kind", ["mock", "archive"])
def test_figures_and_tables_say_what_images_they_are_from(kind: str) -> None:
    search = search_of(tags={"data_kind": kind})
    study = optuna.create_study(directions=search.directions)
    drawn_from: dict[str, BaseDistribution] = {LIMIT: FloatDistribution(1.0, 200.0)}
    for limit, accuracy in ((10.0, 0.6), (20.0, 0.9), (30.0, 0.7)):
        study.add_trial(optuna.create_trial(params={LIMIT: limit}, distributions=drawn_from, value=accuracy))
    label = images_of(kind)
    drawn = figures(search, study)
    assert {"history", "parallel_coordinates", "importances", "intermediate_values"} == set(drawn)
    for name, figure in drawn.items():
        assert any(label in axes.get_title() for axes in figure.axes), name
        plt.close(figure)
    assert table(search, study)["data"].tolist() == [label] * 3
    assert summary(search, study, winner(study, search))["data"] == label
