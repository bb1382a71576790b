"""Storage of a study: an SQLite file for one machine, PostgreSQL for several."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import optuna
from filelock import FileLock
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from mergershift.archive import images_of
from mergershift.config import Config
from mergershift.config.schema import ORACLE_PREFIX
from mergershift.config.tuning_schema import TuningConfig
from mergershift.core.checkout import main_checkout
from mergershift.core.database_files import sqlite_address
from mergershift.core.errors import UserError, first_line
from mergershift.evaluation import DOMAIN_DISTANCE
from mergershift.tracking import tracking_address
from mergershift.tracking.database import parsed, read_contents, without_password
from mergershift.tuning.patience import FAILURES, Patience, outage
from mergershift.tuning.study_storage import StudyStorage

DATABASE = "optuna.db"
DIGEST, TRAINING, STARTED = "mergershift.digest", "mergershift.training", "mergershift.started"
"""User attributes of a study: the digest of its search, its unique id, and its start in ms since 1970 (UTC)."""
_ATTEMPTS, _ATTRIBUTE_CHECKS = 5, 50
_SHORTEST_GRACE = 10
_SQLITE = {"connect_args": {"timeout": 60}}
# By default the system notices only after minutes that a server's machine has disappeared.
_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


@dataclass(frozen=True)
class Search:
    """A search: what is varied, on which data, and where its study is stored."""

    config: Config
    tuning: TuningConfig
    data_hash: str
    code_hash: str
    best_by: str
    """Validator that methods are compared by; it also picks the best trial of a Pareto front."""
    tags: Mapping[str, str | None] = field(default_factory=dict)
    """Tags of the search's run and of its trials: what they are trained on, by which code, and by whom."""

    @property
    def images(self) -> str:
        """Label that says whether the images are a mock's."""
        return images_of(self.tags.get("data_kind") or "unknown")

    @property
    def digest(self) -> str:
        """Hash of everything that determines the result of a trial, but not of the number of trials or the machine."""
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
        """Configured name of the study, or one made of the method, filters, transfer and digest."""
        choices = self.config.choices
        parts = [self.experiment, choices["filters"], choices["transfer"], self.digest[:8]]
        return self.tuning.name or "-".join(parts)

    @property
    def oracle(self) -> bool:
        """Whether target labels are used, either in training or in an objective."""
        return self.tuning.oracle or self.config.is_oracle

    @property
    def experiment(self) -> str:
        """Name of the file in conf/experiment/ that the best trial is written to, without its suffix."""
        return f"{ORACLE_PREFIX * self.oracle}tuned_{self.config.choices['adaptation']}"

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Direction of each objective, in the order of the objectives."""
        return ["minimize" if name == DOMAIN_DISTANCE else "maximize" for name in self.tuning.objectives]


def quiet() -> None:
    """Silence all messages of Optuna and its storage that do not report a problem."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")


def address(tuning: TuningConfig) -> str:
    """Address of the database, including its password; print it with `printable`."""
    return tuning.storage or sqlite_address(main_checkout() / DATABASE)


def printable(url: str) -> str:
    """Address without its password."""
    return without_password(url)


def grace_period(tuning: TuningConfig) -> int:
    """Return after how many seconds without a heartbeat a trial's worker is presumed dead.

    On a busy machine a living worker may give no heartbeat for seconds.
    """
    return max(2 * tuning.heartbeat, _SHORTEST_GRACE)


@contextmanager
def answering(search: Search) -> Iterator[None]:
    """Turn errors of the study's database inside this context into a UserError."""
    try:
        yield
    except FAILURES as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(
            f"{printable(address(search.tuning))}: the study's database stopped answering: {reason}.\n"
            "Finished trials are kept: start the database and run the same command again."
        ) from error


def open_study(search: Search) -> optuna.Study:
    """Load the study, or create it if it does not exist; safe to call from several processes and machines at once.

    Raises UserError if the database does not answer or is not Optuna's, and if the study of that name belongs to
    another search.
    """
    quiet()
    url = address(search.tuning)
    try:
        patience = Patience(0 if url.startswith("sqlite:") else search.tuning.patience, printable(url))
        # Two processes on one machine would collide while tables are created; on other machines `_create` retries.
        with FileLock(main_checkout() / f"{DATABASE}.lock"):
            patience.repeat(lambda: _check_owner(search, url))
            study = patience.repeat(lambda: _create(search, url, patience))
    except ImportError as error:
        raise UserError(
            f"tuning.storage={printable(url)}: its database driver is not installed ({error}).\n"
            'Use postgresql+psycopg://... and install its driver: pip install "mergershift[postgresql]".'
        ) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise UserError(
            f"tuning.storage: not the address of a database ({first_line(error)}).\n"
            "Expected sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        ) from error
    except RuntimeError as error:
        if "runtime optuna version" not in str(error):
            raise
        raise UserError(
            f"{printable(url)}: its tables are those of another Optuna than the installed {optuna.__version__}.\n"
            f"Run `optuna storage upgrade --storage {printable(url)}`, or pip install --upgrade optuna."
        ) from error
    except FAILURES as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(
            f"{printable(url)}: the database does not answer: {reason}.\n"
            "Nothing is lost: start it, or fix tuning.storage, and run the command again."
        ) from error
    if study.user_attrs[DIGEST] != search.digest:
        raise UserError(
            f"{printable(url)}: the study '{search.name}' belongs to another search, with other ranges, objectives, "
            "data, settings or code.\nChoose another tuning.name, or use the command and commit that started it."
        )
    return study


def _check_owner(search: Search, url: str) -> None:
    """Raise UserError if the database is MLflow's, or has tables that Optuna would refuse; only reads.

    Both number the version of their tables in a table of the same name, so that neither could use the database.
    """
    advice = "Set tuning.storage, or MLFLOW_TRACKING_URI (or tracking.uri), to a database of its own."
    contents = read_contents(url)
    if url == tracking_address(search.config.tracking.uri) or contents.owner == "mlflow":
        raise UserError(
            f"{printable(url)}: this database is MLflow's, and studies cannot share it.\n{advice}"
        )
    if contents.revision is not None and contents.owner != "optuna":
        raise UserError(
            f"{printable(url)}: this database belongs to another program, whose tables have version "
            f"{contents.revision}.\n{advice}"
        )


def _create(search: Search, url: str, patience: Patience) -> optuna.Study:
    tuning = search.tuning
    for attempt in range(_ATTEMPTS):
        try:
            storage = StudyStorage(
                url,
                patience,
                heartbeat=tuning.heartbeat,
                grace_period=grace_period(tuning),
                retries=tuning.retries,
                engine=_engine(url),
            )
            return _make_or_load(search, storage)
        except FAILURES as error:
            refused = isinstance(error, ArgumentError | NoSuchModuleError) or outage(error) is not None
            if refused or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.5 * (attempt + 1))
    raise AssertionError("unreachable")


def _engine(url: str) -> dict[str, Any]:
    """Arguments of the engine for a database; what its address sets for the driver takes precedence."""
    if url.startswith("sqlite:"):
        return _SQLITE
    driver, given = parsed(url).drivername, parsed(url).query
    limits = _POSTGRESQL if driver in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2") else {}
    return {
        "pool_pre_ping": True,
        "connect_args": {key: value for key, value in limits.items() if key not in given},
    }


def _make_or_load(search: Search, storage: StudyStorage) -> optuna.Study:
    """Create the study and set its attributes, or load it once the process that created it has set them."""
    try:
        study = optuna.create_study(storage=storage, study_name=search.name, directions=search.directions)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=storage, study_name=search.name)
        for _ in range(_ATTRIBUTE_CHECKS):
            if DIGEST in study.user_attrs:
                return study
            time.sleep(0.2)
        # The process that created the study must have died before it set the attributes: set them here.
    study.set_metric_names(list(search.tuning.objectives))  # for optuna-dashboard
    study.set_user_attr(TRAINING, uuid.uuid4().hex)
    study.set_user_attr(STARTED, int(time.time() * 1000))
    study.set_user_attr(DIGEST, search.digest)
    return study
