"""A finished study and its page, written once for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report.study_sample import mark_as, write_study

from mergershift.report.page import write_report

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Callable[[], Path]:
    """Creates projects with the sample archive in data/, marked as a mock."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("study") / "project"
        shutil.copytree(CHECKOUT / "conf", folder / "conf")
        (folder / "docs").mkdir()
        for name in ("dvc.yaml", "CITATION.cff", "docs/methods.md"):
            shutil.copy(CHECKOUT / name, folder / name)
        shutil.copytree(sample, folder / "data", copy_function=os.link)
        mark_as("mock", folder)
        return folder

    return make


@pytest.fixture(scope="session")
def make_page(make_project: Callable[[], Path]) -> Callable[..., Path]:
    """Make a project with a study, whose arguments are those of `write_study`, and its page."""

    def make(*study: Any, **options: Any) -> Path:
        folder = make_project()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            write_study(*study, **options)
            write_report()
        return folder

    return make


@pytest.fixture(scope="session")
def written(make_page: Callable[..., Path]) -> Path:
    """A project with a study of four methods and two seeds, and its page."""
    return make_page(seeds=(0, 1))


@pytest.fixture
def study(written: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with the study as the working directory; tests must not change it."""
    monkeypatch.chdir(written)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return written


@pytest.fixture
def fresh(make_project: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new project without a study as the working directory."""
    folder = make_project()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield folder
    shutil.rmtree(folder)
