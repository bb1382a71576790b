"""Reports how far a search has come: a line for each trial, and a progress bar on a terminal."""

from __future__ import annotations

import time

import optuna
from optuna.trial import FrozenTrial, TrialState

from mergershift.core.progress import ProgressBars
from mergershift.core.words import counted, roughly
from mergershift.tuning.endings import REASON, WHY, finished, is_finished, original_number
from mergershift.tuning.storage import Search


class Reporter:
    """Reports every trial that finishes, the best so far, and roughly how long the others will take."""

    def __init__(self, search: Search, study: optuna.Study) -> None:
        self._names, self._study = search.tuning.objectives, study
        self._total = search.tuning.trials
        self._progress = ProgressBars(time_left=False)
        self._reported = {trial.number for trial in finished(study.get_trials(deepcopy=False))}
        self._before, self._started = len(self._reported), time.monotonic()
        self._best = self._describe_best()
        self._bar = self._progress.add("trials", self._total, self._before)

    def __enter__(self) -> Reporter:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def print(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._progress.print(text)

    def update(self) -> None:
        """Report the trials that have finished since the last call, and the number that are running."""
        trials = self._study.get_trials(deepcopy=False)
        new = [trial for trial in trials if is_finished(trial) and trial.number not in self._reported]
        if new:
            self._best = self._describe_best()
        for trial in new:
            self._reported.add(trial.number)
            count = f"{len(self._reported)} of {counted(self._total, 'trial')}"
            self.print(f"{self._describe(trial)}; {count}{self._best}{self._left()}")
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        self._bar.update(
            len(self._reported), self._total, f"trials, {running} running{self._best}{self._left()}"
        )

    def _describe(self, trial: FrozenTrial) -> str:
        original = original_number(trial)
        retry = f" (retry of trial {original})" * (original != trial.number)
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        if trial.values is not None and trial.state == TrialState.COMPLETE:
            result = self._scores(trial)
        else:
            step = trial.last_step
            result = trial.user_attrs.get(WHY, "pruned") + (
                f" after epoch {step}" if step is not None else ""
            )
            result += f" ({trial.user_attrs[REASON]})" if REASON in trial.user_attrs else ""
        return f"trial {trial.number}{retry}: {result}, {seconds:.0f} s"

    def _scores(self, trial: FrozenTrial) -> str:
        return ", ".join(f"{name} {value:.4f}" for name, value in zip(self._names, trial.values, strict=True))

    def _describe_best(self) -> str:
        """Word the best trial so far, or the size of the Pareto front, to append to a line."""
        if not self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return ""
        if len(self._names) > 1:
            return f", {len(self._study.best_trials)} on the Pareto front"
        best = self._study.best_trial
        return f", best {best.values[0]:.4f} (trial {best.number})"

    def _left(self) -> str:
        """Word how long the other trials will take, as the ones of this command did, to append to a line."""
        done, missing = len(self._reported) - self._before, self._total - len(self._reported)
        if not done or missing <= 0:
            return ""
        return f", {roughly((time.monotonic() - self._started) / done * missing)} left"
