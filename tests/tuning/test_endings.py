"""Which trials count as finished, and when failures end a search."""

from __future__ import annotations

from datetime import datetime, timedelta

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from mergershift.core.errors import UserError
from mergershift.tuning.endings import (
    FAILURES_IN_A_ROW,
    REASON,
    WHY,
    failed_in_a_row,
    finished,
    numbers_of,
    reason_of,
)

NOON = datetime(2024, 1, 1, 12)


def trials(*ends: str) -> list[FrozenTrial]:
    """Trials in the order in which they ended, after as many seconds: good, pruned, failed, lost (its worker)."""
    made = []
    for number, end in enumerate(ends):
        state = {"good": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "running": TrialState.RUNNING}
        trial = optuna.create_trial(
            state=state.get(end, TrialState.FAIL),
            value=0.5 if end == "good" else None,
            user_attrs={WHY: "failed", REASON: f"reason {number}"} if end == "failed" else {},
        )
        trial.number = number
        trial.datetime_complete = None if end == "running" else NOON + timedelta(seconds=number)
        made.append(trial)
    return made


FAILED = ["failed"] * FAILURES_IN_A_ROW


@pytest.mark.parametrize(
    ("ends", "ended"),
    [
        (FAILED[1:], False),
        (FAILED, True),
        (["good", *FAILED], True),
        ([*FAILED, "good"], False),
        ([*FAILED[1:], "pruned", *FAILED[1:]], False),
        ([*FAILED[1:], "lost", "failed"], True),
        (["lost"] * FAILURES_IN_A_ROW, False),
    ],
)
def test_only_failures_in_a_row_end_a_search(ends: list[str], ended: bool) -> None:
    last = failed_in_a_row(trials(*ends))
    assert (last is not None) is ended
    assert last is None or last.user_attrs[REASON] == f"reason {len(ends) - 1}"


def test_the_order_is_that_in_which_trials_ended() -> None:
    """A long trial of another worker that succeeded in the meantime shows that the search works."""
    several = trials("good", *FAILED)
    assert several[-1].datetime_complete is not None
    several[0].datetime_complete = several[-1].datetime_complete - timedelta(milliseconds=1)
    assert failed_in_a_row(several) is None


def test_a_search_that_is_started_again_may_fail_as_often_again() -> None:
    assert failed_in_a_row(trials(*FAILED, "failed"), first=FAILURES_IN_A_ROW) is None
    assert failed_in_a_row(trials(*FAILED, *FAILED), first=FAILURES_IN_A_ROW) is not None


def test_what_a_dead_worker_leaves_is_not_finished() -> None:
    assert [trial.number for trial in finished(trials("lost", "good", "failed", "running", "pruned"))] == [
        1,
        2,
        4,
    ]


def test_trials_are_counted_by_their_ends() -> None:
    study = optuna.create_study()
    for trial in trials("good", "lost", "failed", "pruned", "failed"):
        study.add_trial(trial)
    assert numbers_of(study) == {"completed": 1, "pruned": 1, "failed": 2}


def test_the_reason_is_that_of_the_first_cause() -> None:
    outer = RuntimeError("Error in call to target")
    outer.__cause__ = ValueError("dropout is 1.5\nsecond line")
    assert reason_of(outer) == "ValueError: dropout is 1.5"
    assert reason_of(MemoryError()) == "MemoryError"
    worded = UserError("dropout is 1.5.\nChange its range.")
    worded.__cause__ = KeyError("p")
    outer.__cause__ = worded
    assert reason_of(outer) == "dropout is 1.5."
