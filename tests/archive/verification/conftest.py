"""A small archive without faults, to which the tests do some damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from archive.samples import write_sample


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "data"))
