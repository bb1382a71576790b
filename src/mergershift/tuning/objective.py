"""One trial: a training with the suggested values, its label-free score, and its MLflow run."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import optuna
import pandas as pd
from filelock import FileLock
from optuna.trial import Trial, TrialState

from mergershift import tracking
from mergershift.cells.layout import CONFIG, EPOCHS, RUN
from mergershift.cells.records import VARIED, RunSpec, RunStatus
from mergershift.cells.run_content import run_files
from mergershift.classifier.classifier import Classifier
from mergershift.classifier.validation import Validation
from mergershift.config import Config
from mergershift.core.checkout import main_checkout
from mergershift.core.errors import Diverged, UserError
from mergershift.core.files import atomic_directory
from mergershift.images import Prepared
from mergershift.training.fit import train
from mergershift.tuning.endings import (
    REASON,
    WHOLE_SEARCH,
    WHY,
    TrialFailed,
    finished,
    original_number,
    reason_of,
)
from mergershift.tuning.space import applied, current, resolved, suggest
from mergershift.tuning.storage import TRAINING, Search

logger = logging.getLogger(__name__)

CHECKPOINTS, WORKER = "checkpoints", "worker"
Scores = dict[str, float]


class Surplus(Exception):
    """The study needs no further trial: another machine started the last one at the same moment."""


def study_folder(study: optuna.Study) -> Path:
    """Folder of the records of a study's trials and, while they run, of their checkpoints.

    Its name contains the study's id, since a study of the same name in another database has different trials with
    the same numbers.
    """
    name = f"{study.study_name}-{study.user_attrs[TRAINING][:8]}"
    return main_checkout() / "state" / "tuning" / name


def trial_folder(study: optuna.Study, number: int) -> Path:
    """Folder for the checkpoints of the trial with this original number."""
    return study_folder(study) / f"trial-{number:04d}"


def training_id(study: optuna.Study, number: int) -> str:
    """Id by which the run of the trial with this original number is found."""
    return f"{study.user_attrs[TRAINING]}-{number}"


def milliseconds(moment: datetime | None) -> int | None:
    """Convert Optuna's time stamp, a naive local time, to milliseconds since 1970 (UTC)."""
    return None if moment is None else int(moment.timestamp() * 1000)


class Objective:
    """The function that Optuna calls for each trial.

    A trial that retries a dead worker's trial continues its run, and resumes after its last finished epoch if the
    checkpoints are on this machine.

    Args:
        search: the search that the trials belong to.
        prepared: images that are trained and validated on.
        started: called as soon as the trial is marked as running on this worker.
    """

    def __init__(
        self, search: Search, prepared: Prepared, started: Callable[[], None] = lambda: None
    ) -> None:
        self._search, self._prepared = search, prepared
        self._names = tuple(dict.fromkeys([*search.tuning.objectives, search.best_by]))
        self._started = started

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """Train with the suggested values and return one score per objective.

        Raises optuna.TrialPruned if the trial is not promising, its training diverges or a score is NaN or infinite;
        TrialFailed if its training raises another exception, such as one for an impossible value or a lack of memory;
        Surplus if the study needs no further trial; Optuna's UpdateFinishedTrialError if the trial was presumed dead
        and another worker has retried it; and UserError if the configuration itself, without any value drawn, cannot
        be trained.
        """
        search = self._search
        trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
        self._started()
        if _is_surplus(trial, search.tuning.trials):
            raise Surplus
        ranges = search.tuning.ranges
        values = suggest(trial, ranges)
        number = original_number(trial)
        try:
            config = applied(search.config, resolved(values, ranges))
            # A worker that was presumed dead but was only suspended notices at its next epoch, and releases this lock.
            with FileLock(trial_folder(trial.study, number).with_suffix(".lock")):
                return self._run(trial, number, config)
        except (optuna.TrialPruned, *WHOLE_SEARCH):
            raise
        except Exception as error:
            if isinstance(error, UserError) and values == current(search.config, ranges):
                raise
            logger.warning("trial %s failed", trial.number, exc_info=True)
            trial.set_user_attr(WHY, "failed")
            trial.set_user_attr(REASON, reason_of(error))
            raise TrialFailed from error

    def _run(self, trial: Trial, number: int, config: Config) -> tuple[float, ...]:
        search = self._search
        folder = trial_folder(trial.study, number)
        validation = Validation(config, self._prepared)
        run = self._open_run(trial, number, config)
        # A retry inherits the scores of the epochs before the interruption.
        scores = dict(trial.study.trials[trial.number].intermediate_values)
        logged: list[Scores] = []
        name: str = search.tuning.objectives[0]
        single = len(search.tuning.objectives) == 1

        def scored(epochs: list[Scores]) -> list[Scores]:
            return [
                {**row, name: scores[epoch]} if (epoch := int(row["epoch"])) in scores else row
                for row in epochs
            ]

        def on_epoch(epochs: list[Scores], classifier: Classifier) -> None:
            step = int(epochs[-1]["epoch"])
            if single:
                scores[step] = validation.metrics(classifier, [name])[name]
                trial.report(scores[step], step)
            logged[:] = scored(epochs)
            run.log_epochs(logged)
            if single and trial.should_prune():
                raise optuna.TrialPruned

        results: Scores = {}
        try:
            result = train(config, self._prepared, folder / CHECKPOINTS, on_epoch)
            logged[:] = scored(result.epochs)
            results = validation.metrics(result.classifier, self._names)
            if not all(math.isfinite(results[name]) for name in search.tuning.objectives):
                raise optuna.TrialPruned
        except (optuna.TrialPruned, Diverged) as error:
            trial.set_user_attr(WHY, "diverged" if isinstance(error, Diverged) else "pruned")
            self._close(run, config, folder, logged, results, "KILLED")
            raise optuna.TrialPruned from error
        except WHOLE_SEARCH:
            run.stop("FAILED")
            raise
        except Exception:
            self._close(run, config, folder, logged, results, "FAILED")
            raise
        except BaseException:
            run.stop("KILLED")
            raise
        for metric, value in results.items():
            trial.set_user_attr(metric, value)
        self._close(run, config, folder, logged, results, "FINISHED")
        return tuple(results[objective] for objective in search.tuning.objectives)

    def _open_run(self, trial: Trial, number: int, config: Config) -> tracking.Run:
        search, study = self._search, trial.study
        spec = RunSpec(
            training=training_id(study, number),
            experiment=config.tracking.experiment,
            name=f"{search.name}/trial-{number}",
            config=config.dump(),
            tags={
                **search.tags,
                "study": search.name,
                "trial": str(number),
                "config_hash": config.digest(),
                VARIED: json.dumps(trial.params),
            },
            parent=study.user_attrs[TRAINING],
            started=milliseconds(study.trials[number].datetime_start),
        )
        return tracking.open_run(tracking.tracking_address(config.tracking.uri), spec)

    def _close(
        self,
        run: tracking.Run,
        config: Config,
        folder: Path,
        epochs: list[Scores],
        results: Scores,
        status: RunStatus,
    ) -> None:
        """Write the record from which the run can be published again, end the run and delete the checkpoints."""
        record = folder.with_name(f"{folder.name}-record")
        with atomic_directory(record) as partial:
            run.record(results, status).write(partial / RUN)
            config.write(partial / CONFIG)
            if epochs:
                pd.DataFrame(epochs).to_csv(partial / EPOCHS, index=False)
        run.log_results(results)
        run.log_files(run_files(record))
        run.finish(epochs, status)
        shutil.rmtree(folder, ignore_errors=True)


def _is_surplus(trial: Trial, wanted: int) -> bool:
    """Whether the finished trials and the running ones that started earlier are as many as `wanted`, or more."""
    trials = trial.study.get_trials(deepcopy=False)
    done = len(finished(trials))
    earlier = sum(other.state == TrialState.RUNNING and other.number < trial.number for other in trials)
    return done + earlier >= wanted
