from pathlib import Path

import pytest

from mergershift.archive.mock import Universe, render_universe, write_archive

MERGERS, NON_MERGERS, SEED = 20, 40, 5


@pytest.fixture(scope="session")
def universe() -> Universe:
    """The smallest universe whose means and standard deviations have to be as published."""
    return render_universe(MERGERS, NON_MERGERS, SEED)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny archive with all filter sets and formats."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder, mergers=2, non_mergers=3, seed=1, fits=True, workers=1, progress=False)
    return folder
