"""What a worker draws for its trials."""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells.samples import config_of, prepare_tiny, write_checkout
from optuna.trial import Trial
from tuning.samples import search_of

from mergershift.images import Prepared
from mergershift.tuning.objective import Objective
from mergershift.tuning.worker import work

TRIALS = 3


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prepared]:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield prepare_tiny(config_of())
    for number, handler in before.items():
        signal.signal(number, handler)


def test_every_trial_draws_values_of_its_own_that_the_seed_decides(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw(self: Objective, trial: Trial) -> tuple[float, ...]:
        drawn.append(trial.suggest_float("x", 0, 1))
        return (0.5,)

    monkeypatch.setattr(Objective, "__call__", draw)
    # These trials leave no trainer to be collected, and a collection among all modules of a test run takes long.
    monkeypatch.setattr(gc, "collect", lambda: 0)
    for name in ("first", "again"):
        work(search_of(trials=TRIALS, name=name, storage=None), prepared)
    assert len(set(drawn[:TRIALS])) == TRIALS
    assert drawn[TRIALS:] == drawn[:TRIALS]
