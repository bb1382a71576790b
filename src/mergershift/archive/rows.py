"""Which galaxy, camera and copy each row of the archive shows, also where the rows are in an unexpected order.

The published order (`RowStructure`) is used where labels and pixels confirm it and `metadata.ecsv`, if it is there,
agrees. Other rows are arranged by the galaxies in `metadata.ecsv`, or else by their pixels: the turned copies of a
rendering are recognised by their digest. Nothing in the pixels of two renderings proves that two cameras saw the same
galaxy, so cameras are joined only where rows are still in runs of four and the flux within these runs varies less than
between them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import (
    ADJACENT,
    FEWEST_GALAXIES,
    SEGMENT_GALAXIES,
    FoundRows,
    Rows,
    Seen,
    arrange,
    flux_segments,
)
from mergershift.archive.channels import open_images
from mergershift.archive.facts import DataSet, Domain, RowStructure
from mergershift.archive.layouts import FileError
from mergershift.archive.metadata import read_metadata
from mergershift.archive.readers import Images, available, read_labels
from mergershift.archive.renderings import digest
from mergershift.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Flux = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Returns the mean of all pixels of some rows, `(n,)`."""

SAMPLE = 64
"""Renderings whose turned copies are compared to confirm the published order."""
SAME_FLUX = 1e-6
"""Relative difference in flux up to which two images can be turned copies of each other."""


STRETCHES, STRETCH_GALAXIES = 20, 10
"""Stretches of adjacent galaxies per class, evenly spaced in the file, whose flux is compared between cameras."""
BLOCK_ROWS = 128
"""Images in memory at once."""


def read_rows(folder: Path, data_set: DataSet | None = None) -> Rows:
    """Find what the rows of a data set show, by default of the first one in the folder.

    The published order is confirmed by a few images; only where it does not hold are all images read. Raises UserError
    if the folder contains no data set, a file is broken, or `metadata.ecsv` contradicts the images.
    """
    data_set = data_set or clearest(folder)
    labels = read_labels(folder, data_set)
    metadata = read_metadata(folder)
    structure = published_order(folder, data_set, labels)
    if structure and described_by(structure, metadata):
        return structure
    return arrange(folder, labels, look(folder, data_set, labels), metadata)


def published_order(folder: Path, data_set: DataSet, labels: NDArray[np.int64]) -> RowStructure | None:
    """Return the published row structure if the labels and the flux of some images follow it: see `confirmed`."""
    images = _images_of(folder, data_set, labels)

    def flux(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        parts = np.array_split(rows, -(-len(rows) // BLOCK_ROWS))
        return np.concatenate([images[part].mean(axis=(1, 2, 3)) for part in parts])

    return confirmed(data_set, labels, flux)


def confirmed(data_set: DataSet, labels: NDArray[np.int64], flux: Flux) -> RowStructure | None:
    """Return the published row structure if the labels follow it and the flux of rows does not contradict it.

    In a pristine file the turned copies of mergers have to have the flux of their originals. In any file flux has to
    vary less within than between galaxies, in each class that has enough of them to decide.
    """
    try:
        structure = RowStructure.from_labels(labels)
    except ValueError:
        return None
    # Noisy copies need not have the same noise, so that they confirm nothing.
    noisy = data_set.domain is Domain.NOISY
    if not noisy and structure.mergers and not _copies_agree(structure, flux):
        return None
    # Noise in the flux hides the differences between a few galaxies.
    return (
        structure if _cameras_agree(structure, flux, SEGMENT_GALAXIES if noisy else FEWEST_GALAXIES) else None
    )


def described_by(structure: RowStructure, metadata: pd.DataFrame | None) -> bool:
    """Whether the metadata table, if it describes rows with these labels, groups them into the same galaxies."""
    if metadata is None or not np.array_equal(metadata["merger"].to_numpy(), structure.labels):
        return True
    described = metadata["galaxy"].to_numpy(np.int64)
    pairs = np.unique(np.stack([structure.galaxy, described]), axis=1).shape[1]
    return bool(pairs == structure.mergers + structure.non_mergers == len(np.unique(described)))


def _copies_agree(structure: RowStructure, flux: Flux) -> bool:
    """Whether most images have the same flux in all blocks: a few that differ are damaged, not reordered."""
    chosen = np.unique(np.linspace(0, structure.block_rows - 1, SAMPLE).astype(np.int64))
    blocks = np.arange(len(structure.BLOCKS))[:, None] * structure.block_rows
    # The flux of a copy is the original's up to rounding, also where an archive has not copied bit for bit.
    found = flux((chosen + blocks).reshape(-1)).reshape(len(blocks), len(chosen))
    return bool(np.isclose(found[1:], found[0], rtol=SAME_FLUX, atol=0).mean() > 0.5)


def _cameras_agree(structure: RowStructure, flux: Flux, fewest: int) -> bool:
    """Whether flux varies less within than between galaxies in stretches of each class with the `fewest` or more."""
    galaxy, originals = structure.galaxy, structure.block == 0
    for first, galaxies in ((0, structure.mergers), (structure.mergers, structure.non_mergers)):
        if galaxies < fewest:
            continue
        starts = np.linspace(0, galaxies - STRETCH_GALAXIES, STRETCHES).astype(np.int64)
        chosen = first + (starts[:, None] + np.arange(STRETCH_GALAXIES)).reshape(-1)
        rows = np.flatnonzero(originals & np.isin(galaxy, chosen))
        found = flux(rows)
        sound = np.isfinite(found)  # Other checks report NaN and infinite pixels.
        rows, found = rows[sound], found[sound]
        # Images without any light decide nothing.
        if len(np.unique(found)) > 1 and any(p >= ADJACENT for _, p in flux_segments(galaxy[rows], found)):
            return False
    return True


def _images_of(folder: Path, data_set: DataSet, labels: NDArray[np.int64]) -> Images:
    images = open_images(folder, data_set)
    if len(images) != len(labels):
        raise FileError(images.path, f"{len(images)} images", f"{len(labels)}, one per label")
    return images


def look(folder: Path, data_set: DataSet, labels: NDArray[np.int64]) -> Seen:
    """Read all images of a data set and identify the renderings that they show."""
    images = _images_of(folder, data_set, labels)
    shapeless, flux = np.empty(len(labels), np.uint64), np.empty(len(labels))
    for block, pixels in images.blocks(BLOCK_ROWS):
        shapeless[block] = digest(pixels).min(axis=1)
        flux[block] = pixels.mean(axis=(1, 2, 3))
    return Seen.of(shapeless, flux)


def limits(rows: Rows) -> str:
    """Describe what is uncertain about the galaxies of rows in another order than the published one, or return ""."""
    if not isinstance(rows, FoundRows) or rows.found_by == "metadata":
        return ""
    text = "the rows are in another order than the published one, "
    if rows.found_by == "renderings":
        text += "and the images do not show which cameras saw the same galaxy, so that two cameras of a galaxy can be "
        text += "in training and in test"
    else:
        text += "and rows in runs of four are taken to be the cameras of one galaxy, as their flux suggests"
    merging = rows.labels == 1
    copies = np.unique(np.stack([rows.galaxy, rows.camera])[:, merging], axis=1, return_counts=True)[1]
    single = int(np.count_nonzero(copies == 1))
    return text + (f"; {single} mergers have no turned copy that is equal bit for bit" if single else "")


GALAXIES_REMEDY = (
    "Identify the galaxies with `mergershift data metadata --from DIR`, which reads the authors' arrays."
)


def clearest(folder: Path) -> DataSet:
    """Choose a data set by which to identify rows: a pristine one, since noise may differ between copies."""
    present = available(folder)
    if not present:
        raise UserError(f"{folder}: contains no data set.\nFetch one with `mergershift data fetch`.")
    return next((data_set for data_set in present if data_set.domain is Domain.PRISTINE), present[0])
