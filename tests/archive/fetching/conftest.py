"""A server with a small archive, and a data folder that does not exist yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from archive.fetching.fetches import SMALL
from archive.samples import write_sample
from archive.server import Archive, serving


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    return write_sample(folder, SMALL, ("two", "three"), ("npy", "fits"))


@pytest.fixture
def archive(published: Path) -> Iterator[Archive]:
    with serving(published) as found:
        yield found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"
