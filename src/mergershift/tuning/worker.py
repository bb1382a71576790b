"""A worker process that runs trials until the study has them all; any number of workers run in parallel."""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from contextlib import suppress

import numpy as np
import optuna
import torch
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import Trial, TrialState

from mergershift.core.processes import interrupted_by
from mergershift.images import Prepared
from mergershift.tuning.endings import TrialFailed, failed_in_a_row, finished
from mergershift.tuning.objective import Objective, Surplus, study_folder
from mergershift.tuning.patience import FAILURES
from mergershift.tuning.storage import Search, open_study
from mergershift.tuning.study_storage import patience_of

FEWEST_FINISHED = 5
"""Number of trials that have to finish before later trials can be pruned by comparison with them."""
_IDLE_SECONDS = 1.0


def work(search: Search, prepared: Prepared, first: int = 0) -> None:
    """Run trials until the study has all of them, several in a row fail, or the process that started this one dies.

    Interrupted by Ctrl-C or SIGTERM, it puts its trial back into the queue, and the next worker resumes it. If this
    process is killed, or the study's database does not answer at that moment, Optuna's heartbeat does so.

    Args:
        search: the search that the trials belong to.
        prepared: images that are trained and validated on.
        first: number of the first trial whose failure may end the search (`failed_in_a_row`).
    """
    with interrupted_by(signal.SIGTERM):
        _work(search, prepared, first)


def _work(search: Search, prepared: Prepared, first: int) -> None:
    parent = os.getppid()
    study = open_study(search)
    try:
        _run_trials(search, prepared, first, study, parent)
    finally:
        patience_of(study).give_up()  # the thread of a heartbeat might wait for the database


def _run_trials(search: Search, prepared: Prepared, first: int, study: optuna.Study, parent: int) -> None:
    study_folder(study).mkdir(parents=True, exist_ok=True)
    # The workers of one machine start their trials one at a time, so that together they do not start too many.
    start_lock = FileLock(study_folder(study) / "begin.lock")
    objective = Objective(search, prepared, started=lambda: start_lock.release(force=True))
    while os.getppid() == parent:
        fail_stale_trials(study)
        with start_lock:
            trials = study.get_trials(deepcopy=False)
            done = len(finished(trials))
            if done >= search.tuning.trials:
                return
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            # A trial that still runs may yet show that the search works.
            hopeless = failed_in_a_row(trials, first) is not None
            if hopeless and not running:
                return
            if not hopeless and done + running < search.tuning.trials:
                study.sampler = _sampler(search, len(trials))
                study.pruner = _pruner(search)
                _run_trial(study, objective)
                gc.collect()  # trainer and images form a reference cycle
                torch.cuda.empty_cache()  # other workers of the same GPU lack what a failed trial leaves reserved
                continue
        # Another worker may still die and leave its trial to this one.
        time.sleep(_IDLE_SECONDS)


def _run_trial(study: optuna.Study, objective: Objective) -> None:
    ended: BaseException | None = None
    """What ends this worker, whatever Optuna then says about the trial."""

    def guarded(trial: Trial) -> tuple[float, ...]:
        nonlocal ended
        try:
            return objective(trial)
        except (KeyboardInterrupt, *FAILURES) as error:
            ended = error
            patience_of(study).give_up()
            _requeue(study, trial)
            raise
        except (optuna.TrialPruned, TrialFailed, Surplus, UpdateFinishedTrialError):
            raise
        except Exception as error:
            ended = error
            raise

    try:
        study.optimize(guarded, n_trials=1, catch=(Surplus, TrialFailed))
    # Within optimize(), study.tell raises ValueError for a trial that is already finished; and if the database does not
    # answer, a variable is unbound there.
    except (UpdateFinishedTrialError, ValueError, UnboundLocalError, *FAILURES) as error:
        if ended is not None:
            raise ended from None
        cause = error.__context__ if isinstance(error, UnboundLocalError) else error
        if isinstance(cause, FAILURES):
            raise cause from cause.__cause__
        if isinstance(error, UnboundLocalError):
            raise
        logging.getLogger(__name__).warning(
            "a trial of this worker was presumed dead; another worker resumes it"
        )


def _requeue(study: optuna.Study, trial: Trial) -> None:
    """Put an interrupted trial back into the queue: Optuna itself only requeues the trials of dead workers.

    The trial is failed first, so that a kill in between cannot put it into the queue twice.
    """
    with suppress(UpdateFinishedTrialError, ValueError, *FAILURES):
        study.tell(trial, state=TrialState.FAIL)
        frozen = study.trials[trial.number]
        RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, frozen)


def _sampler(search: Search, started: int) -> optuna.samplers.BaseSampler:
    """Sampler seeded by (seed, number of started trials), so that a restarted worker does not repeat its draws."""
    state = np.random.SeedSequence([search.tuning.seed, started]).generate_state(1)
    return TPESampler(seed=int(state[0]), multivariate=True)


def _pruner(search: Search) -> BasePruner:
    if not search.tuning.pruning or len(search.tuning.objectives) > 1:
        return NopPruner()
    # The score after the first third of a training says little about the final one.
    return MedianPruner(FEWEST_FINISHED, n_warmup_steps=search.config.training.epochs // 3)
