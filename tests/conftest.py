"""Fixtures for all tests."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import remembered
from archive.samples import LARGER, write_sample
from checkouts import clone, copy, link
from studies import repro, write_study

from mergershift.config import targets

TESTS = Path(__file__).parent
TAKE_LONG = {"universe", "written"}
"""Fixtures that take long to make; tests of them that are quick themselves go where the slow ones are."""
# Under nohup this signal is ignored, and by whatever the tests start as well.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# The networks and methods of the tests, as if conf/allowed_targets.yaml of every checkout listed them.
remembered.use()
targets.PACKAGES += ("networks.samples", "report.study_sample", "training.samples")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order tests for `pytest --dist worksteal`, which begins by cutting the list into a part for each process.

    First in each part come slow tests, those of one folder together, since they share what takes long to make: a
    study, a page, a server. The quick ones after them are what a process steals when it has done its own.
    """
    parts: list[list[pytest.Item]] = [
        [] for _ in range(getattr(config, "workerinput", {}).get("workercount", 1))
    ]
    if len(parts) == 1:
        return
    folders: dict[Path, list[pytest.Item]] = {}
    quick: list[pytest.Item] = []
    for item in items:
        slow = any(item.get_closest_marker(name) for name in ("slow", "system", "team"))
        slow = slow or not TAKE_LONG.isdisjoint(getattr(item, "fixturenames", ()))
        folder = item.path.parent
        if folder == TESTS:  # what is slow there runs the pipeline's study
            folder = TESTS / "pipeline"
        (folders.setdefault(folder, []) if slow else quick).append(item)
    for together in sorted(folders.values(), key=len, reverse=True):
        min(parts, key=len).extend(together)
    left = len(items)
    for number, part in enumerate(parts):
        size = left // (len(parts) - number)
        room = max(0, size - len(part))
        part += quick[:room]
        del quick[:room]
        left -= size
    items[:] = [item for part in parts for item in part]


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


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with a commit, of which every project is a copy: to commit takes longer than to copy."""
    return clone(tmp_path_factory.mktemp("committed") / "project")


@pytest.fixture
def checkout(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a checkout that all tests share, and none may change, the working directory."""
    monkeypatch.chdir(committed)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def project(committed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, with git and DVC, as a new user has it: no data yet. It is the working directory."""
    folder = tmp_path / "project"
    copy(committed, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive of pure noise in two filters, made once per session."""
    return write_sample(tmp_path_factory.mktemp("sample"), LARGER, ("two",))


@pytest.fixture
def archive(project: Path, sample: Path) -> Path:
    """The project with the sample in data/, as links: to change a file, put another in its place."""
    link(sample, project / "data")
    return project


@pytest.fixture(scope="session")
def first_repro(
    committed: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, CompletedProcess[str]]:
    """A project whose study of two methods has run from end to end, but for the page, and what was said of it."""
    folder = tmp_path_factory.mktemp("study") / "project"
    copy(committed, folder)
    write_study(folder, "source_only", "mmd")
    link(sample, folder / "data")
    done = repro(folder, "summary")
    shutil.rmtree(folder / "data")
    return folder, done


@pytest.fixture
def studied(
    first_repro: tuple[Path, CompletedProcess[str]],
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A copy of that project, as the working directory."""
    first, done = first_repro
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / "project"
    copy(first, folder)
    link(sample, folder / "data")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder
