"""By which code an interrupted training may be gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mergershift.cells import code_version
from mergershift.cells.code_version import code_hash

PACKAGE = Path(code_version.__file__).parents[1]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package to edit."""
    copy = tmp_path / "mergershift"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_version, "__file__", str(copy / "cells/code_version.py"))
    return copy


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "\n# edited\n")


def test_code_that_a_training_computes_with_counts_wherever_it_is_edited(package: Path) -> None:
    assert code_hash() == code_hash(), "it is one number for one code"
    seen = {code_hash()}
    for name in (
        "adaptation/mmd.py",
        "classifier/validation.py",
        "evaluation/metrics.py",
        "images/batches.py",
        "networks/deepmerge.py",
        "training/task.py",
    ):
        edit(package / name)
        assert code_hash() not in seen, name
        seen.add(code_hash())


def test_a_search_counts_the_code_of_its_own_besides(package: Path) -> None:
    plain, with_own = code_hash(), code_hash("tuning/objective.py")
    assert with_own != plain
    edit(package / "tuning/objective.py")
    assert code_hash() == plain
    assert code_hash("tuning/objective.py") != with_own


def test_the_code_of_a_report_stops_no_training(package: Path) -> None:
    before = code_hash()
    edit(package / "report/page.py")
    assert code_hash() == before
