"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from archive.samples import LARGER, write_sample

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def published_metadata() -> Path:
    """Folder with the published per-image arrays of the real archive; skips the test if it does not exist."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MERGERSHIFT_PUBLISHED_METADATA", default))
    if not (folder / "subsamples_ID.npy").is_file():
        pytest.skip(
            "published per-image arrays not found: set MERGERSHIFT_PUBLISHED_METADATA to their folder"
        )
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh checkout with git and DVC but without data, as a new user has it; it is the working directory."""
    folder = tmp_path / "project"
    for name in ("conf", "src"):
        shutil.copytree(
            CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("dvc.yaml", "CITATION.cff", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, folder / name)
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "checkout"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive of pure noise in two filters, made once per session."""
    return write_sample(tmp_path_factory.mktemp("sample"), LARGER, ("two",))


@pytest.fixture
def archive(project: Path, sample: Path) -> Path:
    """The project with the sample hard-linked into data/: a test that changes a file must replace it."""
    shutil.copytree(sample, project / "data", copy_function=os.link)
    return project
