"""Creation of a mock archive that replaces a data folder."""

from __future__ import annotations

import math
from pathlib import Path

from mergershift.archive.facts import DATA_SETS, IMAGE_SIZE, RowStructure
from mergershift.archive.manifest import differences, published_files, take
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.provenance import (
    MockProvenance,
    read_provenance,
    require_same_origin,
    write_provenance,
)
from mergershift.archive.replacement import fresh, locked, replace_folder, require_space
from mergershift.core.progress import ProgressBars


def make_mock(
    folder: Path,
    wanted: MockProvenance,
    *,
    replace: bool = False,
    workers: int | None = None,
    bars: ProgressBars | None = None,
) -> bool:
    """Make a mock archive in a data folder and return True; return False if the folder already contains it complete.

    The mock is written next to the folder, so the old files stay intact until the new ones are complete. Raises
    UserError if the folder contains anything but this mock (unless `replace`) or the disk is too small.
    """
    from mergershift.archive.mock import write_archive

    with locked(folder):
        require_same_origin(folder, wanted, replace)
        active = bars or ProgressBars("bytes")
        if not replace and _complete(folder, wanted, active):
            return False
        require_space(folder, needed_bytes(wanted))
        work = fresh(folder, "mock")
        write_archive(
            work,
            mergers=wanted.mergers,
            non_mergers=wanted.non_mergers,
            seed=wanted.seed,
            filter_sets=wanted.filter_sets,
            fits=wanted.fits,
            workers=workers,
            progress=active.on_terminal,
        )
        files = published_files(work)
        with active:
            total = sum(path.stat().st_size for path in files)
            write_provenance(work, wanted.with_files(take(files, active.add("hashing", total).advance)))
        replace_folder(work, folder)
        return True


def needed_bytes(wanted: MockProvenance) -> int:
    """Compute the bytes needed to make a mock: its images and, temporarily, every rendering once in all filters."""
    structure = RowStructure(wanted.mergers, wanted.non_mergers)
    data_sets = [data_set for (name, _), data_set in DATA_SETS.items() if name in wanted.filter_sets]
    images = sum(math.prod(data_set.shape(structure.rows)) for data_set in data_sets) * (1 + wanted.fits)
    renderings = (wanted.mergers + wanted.non_mergers) * RowStructure.CAMERAS * 3 * IMAGE_SIZE**2
    return (images + renderings) * 8


def _complete(folder: Path, wanted: MockProvenance, bars: ProgressBars) -> bool:
    found = read_provenance(folder)
    if not isinstance(found, MockProvenance) or not found.same_archive(wanted) or not found.files:
        return False
    if not (folder / METADATA_NAME).is_file():
        return False
    held = sum(path.stat().st_size for path in published_files(folder))
    with bars:
        changed = differences(folder, found.files, bars.add("comparing", held).advance)
        for name, how in changed.items():
            bars.print(f"{name}: {how}; making the mock again")
    return not changed
