"""Fetches from a server on the loopback interface, and what they leave."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from archive.server import Archive
from rich.console import Console

from mergershift.archive import DATA_SETS, DataSet, Domain, RowStructure
from mergershift.archive.fetching.download import RetryPolicy
from mergershift.archive.fetching.fetch import Fetched, fetch
from mergershift.archive.fetching.files import wanted
from mergershift.archive.manifest import Manifest
from mergershift.archive.provenance import read_provenance
from mergershift.core.progress import ProgressBars

SMALL = RowStructure(mergers=1, non_mergers=2)
TWO = [DATA_SETS["two", domain] for domain in Domain]
PRISTINE = TWO[0]
IMAGES = PRISTINE.images_name
FAST = RetryPolicy(attempts=4, backoff_s=0.01, timeout_s=0.5)


def get(
    archive: Archive,
    folder: Path,
    sets: Sequence[DataSet] = (PRISTINE,),
    which: str = "npy",
    address: str | None = None,
    replace: bool = False,
    jobs: int = 4,
) -> tuple[Fetched, str]:
    log = io.StringIO()
    bars = ProgressBars("bytes", console=Console(file=log, width=200))
    done = fetch(
        folder,
        wanted(sets, which),
        archive.address if address is None else address,
        replace=replace,
        jobs=jobs,
        patience=FAST,
        bars=bars,
    )
    return done, log.getvalue()


def manifest_of(folder: Path) -> Manifest:
    found = read_provenance(folder)
    assert found is not None
    return found.files


def assert_fetched(archive: Archive, folder: Path, *names: str) -> None:
    for name in names:
        assert (folder / name).read_bytes() == archive.files[name]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["data"]
