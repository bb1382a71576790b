"""Optuna's storage in a database, for workers that outlive an outage of its server."""

from __future__ import annotations

import copy
import functools
import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from mergershift.tuning.patience import FAILURES, Patience, outage

CREATION = "mergershift.creation"
"""System attribute of a trial: unique id of the call that created it."""
_P = ParamSpec("_P")
_Result = TypeVar("_Result")


def _patiently(
    method: Callable[Concatenate[StudyStorage, _P], _Result],
) -> Callable[Concatenate[StudyStorage, _P], _Result]:
    """Repeat calls of a method while the database does not answer."""

    @functools.wraps(method)
    def repeated(self: StudyStorage, *arguments: _P.args, **named: _P.kwargs) -> _Result:
        return self.patience.repeat(lambda: method(self, *arguments, **named))

    return repeated


class StudyStorage(RDBStorage):
    """Storage of a study whose every access is repeated while the database server does not answer.

    An access whose transaction was stored although the answer was lost does not take effect twice. A trial is
    presumed dead only after the database has answered this process for a whole grace period: after an outage, the
    heartbeats of all workers are old.

    Args:
        url: address of the database.
        patience: how long the database may not answer.
        heartbeat: seconds between two heartbeats of a running trial.
        grace_period: seconds without a heartbeat after which a trial's worker is presumed dead.
        retries: how often the trial of a dead worker is queued again.
        engine: arguments of the connection, by name.
    """

    def __init__(
        self,
        url: str,
        patience: Patience,
        *,
        heartbeat: int,
        grace_period: int,
        retries: int,
        engine: dict[str, Any],
    ) -> None:
        self.patience = patience
        self._grace = grace_period
        self._silent_since: dict[int, float] = {}
        super().__init__(
            url.replace("{", "{{").replace("}", "}}"),  # Optuna formats the address as a template
            engine_kwargs=engine,
            heartbeat_interval=heartbeat,
            grace_period=grace_period,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                max_retry=retries, inherit_intermediate_values=True
            ),
        )

    # Repeating one of these changes nothing: it reads, or writes the same value in the same place.
    create_new_study = _patiently(
        RDBStorage.create_new_study
    )  # the second attempt finds a study of that name
    set_study_user_attr = _patiently(RDBStorage.set_study_user_attr)
    set_study_system_attr = _patiently(RDBStorage.set_study_system_attr)
    get_study_id_from_name = _patiently(RDBStorage.get_study_id_from_name)
    get_study_name_from_id = _patiently(RDBStorage.get_study_name_from_id)
    get_study_directions = _patiently(RDBStorage.get_study_directions)
    get_study_user_attrs = _patiently(RDBStorage.get_study_user_attrs)
    get_study_system_attrs = _patiently(RDBStorage.get_study_system_attrs)
    get_all_studies = _patiently(RDBStorage.get_all_studies)
    _set_trial_param = _patiently(RDBStorage._set_trial_param)
    get_trial_param = _patiently(RDBStorage.get_trial_param)
    get_trial_id_from_study_id_trial_number = _patiently(RDBStorage.get_trial_id_from_study_id_trial_number)
    set_trial_intermediate_value = _patiently(RDBStorage.set_trial_intermediate_value)
    set_trial_user_attr = _patiently(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _patiently(RDBStorage.set_trial_system_attr)
    get_trial = _patiently(RDBStorage.get_trial)
    _get_trials = _patiently(RDBStorage._get_trials)
    _get_best_trial_id = _patiently(RDBStorage._get_best_trial_id)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        trial = (
            create_trial(state=TrialState.RUNNING) if template_trial is None else copy.copy(template_trial)
        )
        trial.system_attrs = trial.system_attrs | {CREATION: uuid.uuid4().hex}
        create = super()._create_new_trial
        return self.patience.repeat(lambda: create(study_id, trial))

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        """Return the trial that an earlier attempt of the same call has stored, or create it.

        Optuna repeats a creation that failed, too, and locks the study during each attempt.
        """
        assert template_trial is not None
        attribute = models.TrialSystemAttributeModel
        found = (
            session.query(models.TrialModel)
            .join(attribute)
            .filter(
                models.TrialModel.study_id == study_id,
                attribute.key == CREATION,
                attribute.value_json == json.dumps(template_trial.system_attrs[CREATION]),
            )
            .one_or_none()
        )
        return found or super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set the state of a trial; see Optuna. The trial may have it already, by an attempt that seemed to fail."""
        began, failed = datetime.now(), None
        attempt = super().set_trial_state_values

        def set_once() -> bool:
            nonlocal failed
            try:
                changed = attempt(trial_id, state, values)
            except UpdateFinishedTrialError:
                if failed is None or not self._set_between(trial_id, state, began, failed):
                    raise
                return True
            except FAILURES:
                failed = datetime.now()
                raise
            return changed or (failed is not None and self._set_between(trial_id, state, began, failed))

        return self.patience.repeat(set_once)

    def _set_between(self, trial_id: int, state: TrialState, began: datetime, ended: datetime) -> bool:
        """Whether the trial was given this state between two times by the clock of this process."""
        trial = RDBStorage.get_trial(self, trial_id)
        moment = trial.datetime_start if state == TrialState.RUNNING else trial.datetime_complete
        return trial.state == state and moment is not None and began <= moment <= ended

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that the trial's worker lives; without success if the database does not answer for too long."""
        record = super().record_heartbeat
        try:
            self.patience.repeat(lambda: record(trial_id))
        except FAILURES as error:
            # In a thread of its own, the error would end all later heartbeats.
            if outage(error) is None:
                raise

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Ids of the running trials whose workers are presumed dead, including those without any heartbeat."""
        silent = super()._get_stale_trial_ids
        stale = self.patience.repeat(lambda: silent(study_id))
        without = self.patience.repeat(lambda: self._without_heartbeat(study_id))
        now = time.monotonic()
        self._silent_since = {trial: self._silent_since.get(trial, now) for trial in without}
        stale += [trial for trial, since in self._silent_since.items() if now - since > self._grace]
        # A file has no outages, and no wait at the beginning either.
        settled = self.engine.name == "sqlite" or self.patience.answered_for > self._grace
        return stale if settled else []

    def _without_heartbeat(self, study_id: int) -> list[int]:
        """Ids of the running trials without a heartbeat: it follows a trial's start at once, or the worker died."""
        with Session(self.engine) as session:
            rows = session.query(models.TrialModel.trial_id).filter(
                models.TrialModel.study_id == study_id,
                models.TrialModel.state == TrialState.RUNNING,
                ~models.TrialModel.heartbeats.any(),
            )
            return [row.trial_id for row in rows]


def patience_of(study: optuna.Study) -> Patience:
    """Return the patience with which a study's database is accessed."""
    storage = study._storage
    backend = getattr(storage, "_backend", storage)  # Optuna wraps a storage in a cache
    assert isinstance(backend, StudyStorage)
    return backend.patience
