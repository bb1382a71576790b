"""What a worker draws for its trials, and when it stops."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from cells.samples import config_of, prepare_tiny, write_checkout
from optuna.exceptions import StorageInternalError
from optuna.trial import Trial, TrialState
from tuning.samples import search_of

from mergershift.images import Prepared
from mergershift.tuning import worker
from mergershift.tuning.endings import FAILURES_IN_A_ROW, REASON, TrialFailed
from mergershift.tuning.objective import Objective
from mergershift.tuning.storage import open_study
from mergershift.tuning.study_storage import StudyStorage
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


def ends(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def fail_unless(monkeypatch: pytest.MonkeyPatch, good: Callable[[int], bool]) -> None:
    """Let all trials fail but those whose number is good."""

    def run(self: Objective, trial: Trial) -> tuple[float, ...]:
        trial.suggest_float("x", 0, 1)
        if good(trial.number):
            return (0.5,)
        trial.set_user_attr(REASON, f"reason {trial.number}")
        raise TrialFailed

    monkeypatch.setattr(Objective, "__call__", run)
    monkeypatch.setattr(gc, "collect", lambda: 0)


def test_a_failed_trial_is_one_of_the_search_which_goes_on(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_unless(monkeypatch, lambda number: number % 3 == 0)
    search = search_of(trials=6, storage=None)
    work(search, prepared)
    assert ends(open_study(search)) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL] * 2


def test_failures_in_a_row_end_the_search_until_it_is_started_again(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_unless(monkeypatch, lambda number: number == 0)
    search = search_of(trials=20, storage=None)
    study = open_study(search)
    work(search, prepared)
    assert ends(study) == [TrialState.COMPLETE] + [TrialState.FAIL] * FAILURES_IN_A_ROW
    work(search, prepared, first=len(study.trials))
    assert len(ends(study)) == 1 + 2 * FAILURES_IN_A_ROW


def test_a_worker_waits_for_a_trial_that_may_show_that_the_search_works(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker's trial runs while this one's fail; when it succeeds, the search goes on."""
    fail_unless(monkeypatch, lambda number: number > FAILURES_IN_A_ROW)
    search = search_of(trials=FAILURES_IN_A_ROW + 3, storage=None, heartbeat=60)
    study = open_study(search)
    other = study.ask()
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        open_study(search).tell(other.number, 0.5)

    monkeypatch.setattr(worker.time, "sleep", sleep)
    work(search, prepared)
    assert len(slept) == 1
    states = [TrialState.COMPLETE] + [TrialState.FAIL] * FAILURES_IN_A_ROW + [TrialState.COMPLETE] * 2
    assert ends(study) == states


@pytest.mark.parametrize("ending", [None, KeyboardInterrupt])
def test_a_worker_without_its_database_ends_with_the_error_or_the_interruption(
    ending: type[BaseException] | None, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: StudyStorage, trial_id: int) -> None:
        raise StorageInternalError("the database is gone")

    def run(self: Objective, trial: Trial) -> tuple[float, ...]:
        monkeypatch.setattr(StudyStorage, "get_trial", gone)
        if ending is not None:
            raise ending
        return (0.5,)

    monkeypatch.setattr(Objective, "__call__", run)
    with pytest.raises(ending or StorageInternalError):
        work(search_of(storage=None), prepared)
