"""Fixtures of the tests that need a team's real parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from team.docker import Docker, docker_engine


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A Docker engine that answers, the machine's own or one started for the tests."""
    with docker_engine(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each module to one process, and all that need Docker, which take longest, to the first."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            containers = "docker" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("docker" if containers else item.path.stem))
    items.sort(key=lambda item: "docker" not in getattr(item, "fixturenames", ()))
