"""A process that works on a study until it has all its trials; any number of them work side by side."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import suppress
from datetime import datetime, timedelta

import numpy as np
import optuna
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import Trial, TrialState

from mergershift.core.processes import interrupted_by
from mergershift.images import Prepared
from mergershift.tuning.objective import FINISHED, WORKER, Objective, Surplus, study_folder
from mergershift.tuning.storage import Search, open_study

FEWEST_FINISHED = 5
"""Trials that have to be finished before others are pruned by comparison with them."""
_IDLE = 1.0


def work(search: Search, prepared: Prepared) -> None:
    """Run trials until the study has as many as it shall; ends early where the process that started it is gone.

    Interrupted by SIGINT or SIGTERM, it hands its trial back, and whoever works on the study next goes on with
    it; killed, it leaves that to the heartbeat.
    """
    with interrupted_by(signal.SIGTERM):
        _work(search, prepared)


def _work(search: Search, prepared: Prepared) -> None:
    parent = os.getppid()
    study = open_study(search)
    study_folder(study).mkdir(parents=True, exist_ok=True)
    # Within this machine trials are begun one after the other, so that none is begun too many.
    door = FileLock(study_folder(study) / "begin.lock")
    objective = Objective(search, prepared, started=lambda: door.release(force=True))
    while os.getppid() == parent:
        fail_stale_trials(study)
        _fail_stillborn(study, search)
        with door:
            trials = study.get_trials(deepcopy=False)
            finished = sum(each.state in FINISHED for each in trials)
            if finished >= search.tuning.trials:
                return
            running = sum(each.state == TrialState.RUNNING for each in trials)
            if finished + running < search.tuning.trials:
                study.sampler = _sampler(search, len(trials))
                study.pruner = _pruner(search)
                _run_trial(study, objective)
                gc.collect()  # a trainer and its images refer to each other
                continue
        # The others' last trials may yet be left to us.
        time.sleep(_IDLE)


def _run_trial(study: optuna.Study, objective: Objective) -> None:
    interrupted = broken = False

    def guarded(trial: Trial) -> tuple[float, ...]:
        nonlocal interrupted, broken
        try:
            return objective(trial)
        except (KeyboardInterrupt, SystemExit):  # Lightning makes the second of the first
            interrupted = True
            _hand_back(study, trial)
            raise KeyboardInterrupt from None
        except (optuna.TrialPruned, Surplus, UpdateFinishedTrialError):
            raise
        except Exception:
            broken = True
            raise

    try:
        study.optimize(guarded, n_trials=1, catch=(Surplus,))
    except (UpdateFinishedTrialError, ValueError):  # the second is what telling of a finished trial raises
        if interrupted:
            raise KeyboardInterrupt from None
        if broken:
            raise
        logging.getLogger(__name__).warning("a trial was taken for dead, and another worker goes on with it")


def _hand_back(study: optuna.Study, trial: Trial) -> None:
    """Queue the trial again: Optuna does so for what a dead worker leaves, not for what one gives up.

    Failed first, so that a kill in between can't queue it twice.
    """
    with suppress(UpdateFinishedTrialError, ValueError):
        study.tell(trial, state=TrialState.FAIL)
        frozen = study.trials[trial.number]
        RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, frozen)


def _fail_stillborn(study: optuna.Study, search: Search) -> None:
    """Fail trials whose worker died before its first sign of life; Optuna would wait for them for ever."""
    latest = datetime.now() - timedelta(seconds=2 * search.tuning.heartbeat + _IDLE)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        began = trial.datetime_start
        if WORKER not in trial.user_attrs and began is not None and began < latest:
            with suppress(UpdateFinishedTrialError, ValueError):
                study.tell(trial.number, state=TrialState.FAIL)


def _sampler(search: Search, begun: int) -> optuna.samplers.BaseSampler:
    """Drawn from (seed, trials begun so far), so that a worker that is started again draws nothing twice."""
    drawn = np.random.SeedSequence([search.tuning.seed, begun]).generate_state(1)
    return TPESampler(seed=int(drawn[0]), multivariate=True)


def _pruner(search: Search) -> BasePruner:
    if not search.tuning.pruning or len(search.tuning.objectives) > 1:
        return NopPruner()
    # The first third of a training tells little of its end.
    return MedianPruner(FEWEST_FINISHED, n_warmup_steps=search.config.training.epochs // 3)
