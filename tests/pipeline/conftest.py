"""Fixtures for tests of the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline.shell import RunCounter, write_shell_project


@pytest.fixture
def runs_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCounter:
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("RUNS", str(folder))
    return RunCounter(folder)


@pytest.fixture
def shell(tmp_path: Path, runs_of: RunCounter, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose cells are short shell commands, in a folder with a space in its name."""
    folder = write_shell_project(tmp_path / "a project")
    monkeypatch.chdir(folder)
    return folder
