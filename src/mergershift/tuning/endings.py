"""How trials end: which of them count as finished, which have failed, and when failures end the search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mergershift.core.errors import UserError, first_line

WHY, REASON = "why", "reason"
"""User attributes of a trial without a result: pruned, diverged or failed, and the error that it failed with."""
FAILURES_IN_A_ROW = 5
"""Failed trials in a row that end a search. Where a third of all values are impossible, 45% of searches of 24 trials
have three failures in a row somewhere, but only 6% have five."""
WHOLE_SEARCH = (OptunaError, SQLAlchemyError)
"""Errors of the study's storage, which concern all trials."""


class TrialFailed(Exception):
    """The training of a trial raised an exception; the search goes on with other values."""


def original_number(trial: FrozenTrial | Trial) -> int:
    """Number of the trial that this one retries, or its own number if it is not a retry."""
    frozen = trial if isinstance(trial, FrozenTrial) else trial.study.trials[trial.number]
    retried = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
    return frozen.number if retried is None else retried


def has_failed(trial: FrozenTrial) -> bool:
    """Return whether the trial's own training raised an exception, rather than its worker having died."""
    return trial.state == TrialState.FAIL and REASON in trial.user_attrs


def is_finished(trial: FrozenTrial) -> bool:
    """Return whether the trial counts towards the number of trials, and no worker will repeat it."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) or has_failed(trial)


def finished(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Return those of the trials that count towards the number of trials."""
    return [trial for trial in trials if is_finished(trial)]


def failed_in_a_row(trials: Iterable[FrozenTrial], first: int = 0) -> FrozenTrial | None:
    """Return the last of the failed trials that end a search, or None if it may go on.

    Args:
        trials: all trials of the study, by all workers.
        first: number of the first trial of this search; earlier ones belong to an interrupted one.
    """
    ended = [trial for trial in finished(trials) if trial.number >= first]
    ended.sort(key=lambda trial: trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0)
    last = ended[-FAILURES_IN_A_ROW:]
    return last[-1] if len(last) == FAILURES_IN_A_ROW and all(map(has_failed, last)) else None


def is_over(trials: Sequence[FrozenTrial], wanted: int, first: int = 0) -> bool:
    """Return whether a search has all its trials, or is ended by failures in a row while no other trial runs.

    Args:
        trials: all trials of the study, by all workers.
        wanted: number of trials of the search.
        first: number of the first trial of this search (`failed_in_a_row`).
    """
    if len(finished(trials)) >= wanted:
        return True
    running = any(trial.state == TrialState.RUNNING for trial in trials)
    return not running and failed_in_a_row(trials, first) is not None


def reason_of(error: BaseException) -> str:
    """Word the exception that a training raised: the type and the message's first line of what caused it.

    The message of a UserError is taken as it is.
    """
    while error.__cause__ is not None and not isinstance(error, UserError):
        error = error.__cause__
    text = first_line(error)
    plain = isinstance(error, UserError) or text == type(error).__name__
    return text if plain else f"{type(error).__name__}: {text}"


def numbers_of(study: optuna.Study) -> dict[str, int]:
    """Count the finished trials of a study by how they ended."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return {
        "completed": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "failed": sum(map(has_failed, trials)),
    }
