"""Database servers for the searches of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgresql import PostgreSQL, postgresql_server


@pytest.fixture(scope="module")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A database server that a test may kill if it starts it again; skips it if PostgreSQL is not installed."""
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an empty database on its own server; skips the test if PostgreSQL is not installed."""
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server.create("studies")
