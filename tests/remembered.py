"""What tests need again and again and what takes long to make, made once in each process.

    remembered.use()

They are configurations, of which Hydra takes a tenth of a second for each, and the tables of MLflow's databases, which
its migrations take a second for. Tests of the composition itself ask for `plain_compositions`. Nor does this process
wait for the disk or draw figures in more pixels than a test needs.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.store.db.utils as mlflow_tables
from matplotlib.figure import Figure
from sqlalchemy import Engine, create_engine, event

from mergershift.config import Config, composition, targets
from mergershift.core.checkout import root

_compose = composition.compose
_initialise = mlflow_tables._initialize_tables
_savefig = Figure.savefig
_composed: dict[Any, Config] = {}
_plain = False


def use() -> None:
    """Use them in all of this process, also where `compose` is known by its name already."""
    for module in list(sys.modules.values()):
        if getattr(module, "compose", None) is _compose:
            module.compose = compose  # type: ignore[attr-defined]
    mlflow_tables._initialize_tables = _write_tables
    event.listen(Engine, "connect", _do_not_wait_for_the_disk)
    Figure.savefig = _save_small  # type: ignore[assignment]


def compose(overrides: Sequence[str] = (), conf: Path | None = None) -> Config:
    """The same as `mergershift.config.compose`, which is only called for files and overrides that are new."""
    folder = conf or root() / "conf"
    try:
        files = [
            (str(path.relative_to(folder)), path.read_bytes()) for path in sorted(folder.rglob("*.yaml"))
        ]
    except OSError:
        return _compose(overrides, conf)
    if _plain or any("${" in override for override in overrides):
        return _compose(overrides, conf)
    named = {name for _, content in files for name in re.findall(rb"oc\.env:(\w+)", content)}
    variables = tuple((name, os.environ.get(name.decode())) for name in sorted(named))
    key = tuple(overrides), tuple(files), variables, targets.PACKAGES
    if key not in _composed:
        _composed[key] = _compose(overrides, conf)
    return _composed[key].model_copy(deep=True)


@contextmanager
def plain_compositions() -> Iterator[None]:
    """Let Hydra compose every configuration, for the tests of the composition."""
    global _plain
    before, _plain = _plain, True
    try:
        yield
    finally:
        _plain = before


@cache
def _tables() -> sqlite3.Connection:
    """A database in memory with the tables that MLflow's migrations make."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    with TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{folder}/mlflow.db")
        _initialise(engine)
        engine.dispose()
        with closing(sqlite3.connect(f"{folder}/mlflow.db")) as written:
            written.backup(connection)
    return connection


def _write_tables(engine: Engine) -> None:
    file = engine.url.database
    if engine.dialect.name != "sqlite" or not file or not mlflow_tables._is_empty_database(engine):
        _initialise(engine)
        return
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        _tables().backup(connection)


def _do_not_wait_for_the_disk(connection: Any, _: Any) -> None:
    """Leave it to the system when it writes to the disk: no test cuts the power."""
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.Error):  # no database, or a damaged one, which the test is about
            connection.execute("PRAGMA synchronous = OFF")


def _save_small(figure: Figure, file: Any, **options: Any) -> None:
    _savefig(figure, file, **options | {"dpi": 30})
