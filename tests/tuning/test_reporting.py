"""What a search reports while it runs."""

from __future__ import annotations

from datetime import datetime, timedelta

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from tuning.samples import LIMIT, search_of

from mergershift.evaluation import DOMAIN_DISTANCE
from mergershift.tuning import reporting
from mergershift.tuning.reporting import Reporter

STARTED = datetime(2026, 1, 1)


def ended(value: float | None = None, values: list[float] | None = None) -> FrozenTrial:
    """A trial that took a minute; without a value, one that was pruned."""
    pruned = value is None and values is None
    trial = optuna.create_trial(
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        value=value,
        values=values,
        params={LIMIT: 2.0},
        distributions={LIMIT: FloatDistribution(1.0, 200.0)},
        intermediate_values={4: 0.5} if pruned else {},
    )
    trial.datetime_start, trial.datetime_complete = STARTED, STARTED + timedelta(seconds=60)
    return trial


def test_every_trial_is_reported_with_the_best_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: clock[0])
    search = search_of(trials=7)
    study = optuna.create_study(directions=search.directions)
    study.add_trial(ended(0.7))  # by an earlier command, which says nothing about how long this one takes
    with Reporter(search, study) as reporter:
        reporter.update()
        clock[0] = 120.0
        study.add_trial(ended())
        reporter.update()
        clock[0] = 240.0
        study.add_trial(ended(0.8))
        reporter.update()
        reporter.update()
        for _ in range(4):
            study.add_trial(ended(0.75))
        reporter.update()
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [
        "trial 1: pruned after epoch 4, 60 s; 2 of 7 trials, best 0.7000 (trial 0), about 10 minutes left",
        "trial 2: source_balanced_accuracy 0.8000, 60 s; 3 of 7 trials, best 0.8000 (trial 2), "
        "about 8 minutes left",
    ]
    assert lines[-1] == "trial 6: source_balanced_accuracy 0.7500, 60 s; 7 of 7 trials, best 0.8000 (trial 2)"
    assert len(lines) == 6


def test_two_objectives_have_a_front(capsys: pytest.CaptureFixture[str]) -> None:
    search = search_of(objectives=["source_balanced_accuracy", DOMAIN_DISTANCE])
    study = optuna.create_study(directions=search.directions)
    with Reporter(search, study) as reporter:
        for values in ([0.9, 0.3], [0.8, 0.2], [0.7, 0.4]):
            study.add_trial(ended(values=values))
            reporter.update()
    assert [
        line.partition(", 60 s; ")[2].partition(" front")[0] for line in capsys.readouterr().err.splitlines()
    ] == [f"{done} of 3 trials, {size} on the Pareto" for done, size in ((1, 1), (2, 2), (3, 2))]
