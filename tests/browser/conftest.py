"""A study of a few trainings, published, registered and served by the project's own commands."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser.chromium import chromium
from checkouts import copy, link
from report.study_sample import METHODS, mark_as, write_study
from studies import environment

from mergershift.cells.layout import RUN, TRAINED
from mergershift.cells.records import RunRecord
from mergershift.cli.main import main
from mergershift.config.study import read_study
from mergershift.core.checkout import root

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

PATIENCE = 60
"""Seconds to wait for a server or for something on a page."""


@dataclass(frozen=True)
class Served:
    """A project whose runs are served."""

    folder: Path
    address: str
    """Address of MLflow's pages."""
    links: list[str]
    """Addresses that `mergershift ui --study` prints, the study's first."""


@pytest.fixture(scope="module")
def tabs() -> Iterator[BrowserContext]:
    """A browser for the tests of a module: while it runs, no other test could start an event loop.

    It keeps MLflow's scripts, 20 MB, between the tests.
    """
    with chromium() as browser:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE * 1000)
        yield context


@pytest.fixture
def page(tabs: BrowserContext) -> Iterator[Page]:
    """An empty tab on a screen of a desktop's size."""
    page = tabs.new_page()
    page.set_viewport_size({"width": 1600, "height": 1200})
    yield page
    page.close()


@pytest.fixture(scope="session")
def published(committed: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished study, its page, all its runs, and its best model as champion."""
    folder = tmp_path_factory.mktemp("published") / "project"
    copy(committed, folder)
    link(sample, folder / "data")
    mark_as("mock", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_trainings("astronomer")
        call(["sync"], ["report"], ["register", "filters=two"], ["promote"])
    return folder


def write_trainings(user: str, methods: Sequence[tuple[str, str]] = METHODS, seed: int = 0) -> None:
    """Write a user's finished study into the working directory, with all that its pages show of a training."""
    write_study(methods, seeds=(seed,))
    for cell in read_study().cells():
        path = root() / cell.folder / TRAINED / RUN
        record = RunRecord.read(path)
        assert record.trained is not None
        tags = {"cell": record.trained.cell, "data_kind": "mock", "data_seed": "3"}
        tags |= {"data_hash": record.trained.data_hash, "mlflow.user": user}
        record.model_copy(update={"tags": tags, "run_id": None}).write(path)


def call(*commands: list[str]) -> None:
    """Run commands of mergershift in this process, all of which have to succeed."""
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0, command


@pytest.fixture(scope="session")
def served(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The published project's runs, served by `mergershift ui --study`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("served") / "log"
    command = [sys.executable, "-m", "mergershift", "ui", "--study", "--port", str(port)]
    with log.open("w") as file:
        server = subprocess.Popen(
            command,
            cwd=published,
            env=environment(published),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        links: list[str] = []
        waited_since = time.monotonic()
        while not links:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < waited_since + PATIENCE, log.read_text()
            time.sleep(0.1)
            links = re.findall(r"http://\S+", log.read_text())
        yield Served(published, f"http://127.0.0.1:{port}", links)
    finally:
        server.terminate()
        server.wait(PATIENCE)
