"""Fixtures for tests of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from remembered import plain_compositions


@pytest.fixture(autouse=True)
def _composed_by_hydra() -> Iterator[None]:
    with plain_compositions():
        yield
