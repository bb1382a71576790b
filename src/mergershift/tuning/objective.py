"""One trial: a training with the suggested values, scored without target labels, and a run in MLflow."""

from __future__ import annotations

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
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import Trial, TrialState

from mergershift import tracking
from mergershift.cells.finished import run_files
from mergershift.cells.layout import CONFIG, EPOCHS, RUN
from mergershift.cells.records import RunSpec, RunStatus
from mergershift.classifier.classifier import Classifier
from mergershift.classifier.validation import Validation
from mergershift.config import Config
from mergershift.core.checkout import main_checkout
from mergershift.core.errors import Diverged
from mergershift.core.files import atomic_directory
from mergershift.images import Prepared
from mergershift.training.fit import train
from mergershift.tuning.space import applied, resolved, suggest
from mergershift.tuning.storage import TRAINING, Search

CHECKPOINTS, WORKER = "checkpoints", "worker"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
Figures = dict[str, float]


class Surplus(Exception):
    """Another machine has taken the last trial in the same moment."""


def study_folder(study: optuna.Study) -> Path:
    """Where the trials of a study leave their records and, while they run, their checkpoints.

    Its id is in the name: a study of the same name in another database has other trials of the same numbers.
    """
    name = f"{study.study_name}-{study.user_attrs[TRAINING][:8]}"
    return main_checkout() / "state" / "tuning" / name


def trial_folder(study: optuna.Study, number: int) -> Path:
    """Where the trial with this original number keeps its checkpoints."""
    return study_folder(study) / f"trial-{number:04d}"


def training_id(study: optuna.Study, number: int) -> str:
    """By which the run of the trial with this original number is found."""
    return f"{study.user_attrs[TRAINING]}-{number}"


def milliseconds(moment: datetime | None) -> int | None:
    """Since 1970, of the local time in which Optuna counts."""
    return None if moment is None else int(moment.timestamp() * 1000)


def original_number(trial: optuna.trial.FrozenTrial | Trial) -> int:
    """The trial's number, or that of the one that it takes up again."""
    frozen = trial if isinstance(trial, optuna.trial.FrozenTrial) else trial.study.trials[trial.number]
    retried = RetryHeartbeatStaleTrialCallback.retried_trial_number(frozen)
    return frozen.number if retried is None else retried


class Objective:
    """What Optuna calls for each trial.

    A trial that takes up a dead worker's goes on after its last finished epoch, where the checkpoints of that
    lie within reach, and in the same run.
    """

    def __init__(
        self, search: Search, prepared: Prepared, started: Callable[[], None] = lambda: None
    ) -> None:
        self._search, self._prepared = search, prepared
        self._figures = tuple(dict.fromkeys([*search.tuning.objectives, search.best_by]))
        self._started = started

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        """Train and score; raises TrialPruned where it is not worth going on, or where the training diverged.

        Raises Optuna's UpdateFinishedTrialError where the trial was taken for dead meanwhile and is another
        worker's now.
        """
        search = self._search
        trial.set_user_attr(WORKER, f"{socket.gethostname()}:{os.getpid()}")
        self._started()
        if _is_surplus(trial, search.tuning.trials):
            raise Surplus
        ranges = search.tuning.ranges
        config = applied(search.config, resolved(suggest(trial, ranges), ranges))
        number = original_number(trial)
        # Whoever was taken for dead while it only slept notices at its next epoch and gives way.
        with FileLock(trial_folder(trial.study, number).with_suffix(".lock")):
            return self._run(trial, number, config)

    def _run(self, trial: Trial, number: int, config: Config) -> tuple[float, ...]:
        search = self._search
        folder = trial_folder(trial.study, number)
        run = self._open_run(trial, number, config)
        validation = Validation(config, self._prepared)
        # The scores of epochs before an interruption; a trial inherits them.
        scores = dict(trial.study.trials[trial.number].intermediate_values)
        logged: list[Figures] = []
        name: str = search.tuning.objectives[0]
        single = len(search.tuning.objectives) == 1

        def scored(epochs: list[Figures]) -> list[Figures]:
            return [
                {**each, name: scores[epoch]} if (epoch := int(each["epoch"])) in scores else each
                for each in epochs
            ]

        def on_epoch(epochs: list[Figures], classifier: Classifier) -> None:
            step = int(epochs[-1]["epoch"])
            if single:
                scores[step] = validation.metrics(classifier, [name])[name]
                trial.report(scores[step], step)
            logged[:] = scored(epochs)
            run.log_epochs(logged)
            if single and trial.should_prune():
                raise optuna.TrialPruned

        figures: Figures = {}
        try:
            result = train(config, self._prepared, folder / CHECKPOINTS, on_epoch)
            logged[:] = scored(result.epochs)
            figures = validation.metrics(result.classifier, self._figures)
            if not all(math.isfinite(figures[name]) for name in search.tuning.objectives):
                raise optuna.TrialPruned
        except (optuna.TrialPruned, Diverged) as error:
            trial.set_user_attr("why", "diverged" if isinstance(error, Diverged) else "pruned")
            self._close(run, config, folder, logged, figures, "KILLED")
            raise optuna.TrialPruned from error
        for each, value in figures.items():
            trial.set_user_attr(each, value)
        self._close(run, config, folder, logged, figures, "FINISHED")
        return tuple(figures[each] for each in search.tuning.objectives)

    def _open_run(self, trial: Trial, number: int, config: Config) -> tracking.Run:
        search, study = self._search, trial.study
        spec = RunSpec(
            training=training_id(study, number),
            experiment=config.tracking.experiment,
            name=f"{search.name}/trial-{number}",
            config=config.dump(),
            tags={
                "study": search.name,
                "trial": str(number),
                "data_hash": search.data_hash,
                "config_hash": config.digest(),
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
        epochs: list[Figures],
        figures: Figures,
        status: RunStatus,
    ) -> None:
        """Leave the record from which the run can be published again, and let go of the checkpoints."""
        record = folder.with_name(f"{folder.name}-record")
        with atomic_directory(record) as partial:
            run.record(figures, status).write(partial / RUN)
            config.write(partial / CONFIG)
            if epochs:
                pd.DataFrame(epochs).to_csv(partial / EPOCHS, index=False)
        run.log_results(figures)
        run.log_files(run_files(record))
        run.finish(epochs, status)
        shutil.rmtree(folder, ignore_errors=True)


def _is_surplus(trial: Trial, wanted: int) -> bool:
    """Whether as many trials are finished or were begun before as are wanted in all."""
    trials = trial.study.get_trials(deepcopy=False)
    finished = sum(each.state in FINISHED for each in trials)
    before = sum(each.state == TrialState.RUNNING and each.number < trial.number for each in trials)
    return finished + before >= wanted
