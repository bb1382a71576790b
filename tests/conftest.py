"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def published_metadata() -> Path:
    """Folder with the published per-image arrays of the real archive; skips by name without it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MERGERSHIFT_PUBLISHED_METADATA", beside))
    if not (folder / "subsamples_ID.npy").is_file():
        pytest.skip("published per-image arrays not found: MERGERSHIFT_PUBLISHED_METADATA names their folder")
    return folder
