"""Where a study lives: an SQLite file for one machine, PostgreSQL for several."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from mergershift.config import Config
from mergershift.config.schema import ORACLE_PREFIX, TuningConfig
from mergershift.core.checkout import main_checkout
from mergershift.core.errors import UserError, first_line
from mergershift.evaluation import DOMAIN_DISTANCE

DATABASE = "optuna.db"
DIGEST, TRAINING, STARTED = "mergershift.digest", "mergershift.training", "mergershift.started"
"""Attributes of a study: what it searches, an id of its own, and when it began, in milliseconds since 1970."""
_ATTEMPTS, _PATIENCE = 5, 50
_SQLITE = {"connect_args": {"timeout": 60}}


@dataclass(frozen=True)
class Search:
    """One search: what is varied, on which data, and where its study is kept."""

    config: Config
    tuning: TuningConfig
    data_hash: str
    code_hash: str
    best_by: str
    """The validator that methods are compared by; it also chooses from a Pareto front."""

    @property
    def digest(self) -> str:
        """Hash of all that decides what a trial does; neither how many there are nor on which machine."""
        plain = self.config.dump()
        for group in ("archive", "tracking", "trainer"):
            plain.pop(group)
            plain["choices"].pop(group, None)
        tuning = self.tuning.model_dump(mode="json", include={"objectives", "pruning", "space"})
        deciding = self.best_by if len(self.tuning.objectives) > 1 else None
        text = json.dumps([plain, tuning, self.data_hash, self.code_hash, deciding], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def name(self) -> str:
        """Of the study: the configured one, or one that tells method, filters and digest."""
        choices = self.config.choices
        parts = [self.experiment, choices["filters"], choices["transfer"], self.digest[:8]]
        return self.tuning.name or "-".join(parts)

    @property
    def oracle(self) -> bool:
        """Whether target labels take part, in the trainings or in what they are judged by."""
        return self.tuning.oracle or self.config.is_oracle

    @property
    def experiment(self) -> str:
        """Name of the file in conf/experiment/ that the winner becomes."""
        return f"{ORACLE_PREFIX * self.oracle}tuned_{self.config.choices['adaptation']}"

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of the objectives."""
        return ["minimize" if name == DOMAIN_DISTANCE else "maximize" for name in self.tuning.objectives]


def quiet() -> None:
    """Let Optuna speak of what is wrong only."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")


def address(tuning: TuningConfig) -> str:
    """Of the database, with its password; see `shown`."""
    return tuning.storage or f"sqlite:///{main_checkout() / DATABASE}"


def shown(url: str) -> str:
    """The address as it may be printed."""
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


@contextmanager
def answering(search: Search) -> Iterator[None]:
    """Turn what goes wrong between Optuna and the study's database into a UserError."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        words = first_line(error.__cause__ or error)
        raise UserError(
            f"{shown(address(search.tuning))}: the study's database does not answer any more: {words}.\n"
            "Finished trials are kept: start it, and give the command again."
        ) from error


def open_study(search: Search) -> optuna.Study:
    """The study, made where it is missing; any number of processes and machines may do so at once.

    Raises UserError where the database does not answer, and where the study of that name is another search.
    """
    quiet()
    url = address(search.tuning)
    try:
        # On one machine two processes would meet while tables are made; elsewhere the second one tries again.
        with FileLock(main_checkout() / f"{DATABASE}.lock"):
            study = _create(search, url)
    except ImportError as error:
        raise UserError(
            f"tuning.storage={shown(url)}: no driver for it here ({error}).\n"
            'Write postgresql+psycopg://..., and install it: pip install "mergershift[postgresql]".'
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(
            f"tuning.storage: not the address of a database ({first_line(error)}).\n"
            "Expected sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        words = first_line(error.__cause__ or error)
        raise UserError(
            f"{shown(url)}: the database does not answer: {words}.\n"
            "Nothing is lost: start it, or mend tuning.storage, and give the command again."
        ) from error
    if study.user_attrs[DIGEST] != search.digest:
        raise UserError(
            f"{shown(url)}: the study '{search.name}' searches something else: other ranges, objectives, data, "
            "settings or code.\nTake another tuning.name, or the same command and commit as where it was begun."
        )
    return study


def _create(search: Search, url: str) -> optuna.Study:
    tuning = search.tuning
    for attempt in range(_ATTEMPTS):
        try:
            storage = RDBStorage(
                url,
                engine_kwargs=_SQLITE if url.startswith("sqlite:") else {"pool_pre_ping": True},
                heartbeat_interval=tuning.heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                    max_retry=tuning.retries, inherit_intermediate_values=True
                ),
            )
            return _make_or_load(search, storage)
        except (SQLAlchemyError, StorageInternalError) as error:
            refused = isinstance(error, ArgumentError | NoSuchModuleError)
            if refused or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


def _make_or_load(search: Search, storage: RDBStorage) -> optuna.Study:
    """Whoever makes the study says what it searches, and gives it an id of its own; the others wait for that."""
    try:
        study = optuna.create_study(storage=storage, study_name=search.name, directions=search.directions)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=search.name)
        for _ in range(_PATIENCE):
            if DIGEST in study.user_attrs:
                return study
            time.sleep(0.2)  # else whoever made it has died at once
    study.set_user_attr(TRAINING, uuid.uuid4().hex)
    study.set_user_attr(STARTED, int(time.time() * 1000))
    study.set_user_attr(DIGEST, search.digest)
    return study
