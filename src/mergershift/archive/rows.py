"""Which galaxy, camera and copy each row of the archive shows, also where the rows are in an unexpected order.

The published order (`RowStructure`) is used where labels and pixels confirm it. Other rows are arranged by the galaxies
in `metadata.ecsv`, or else by their pixels: the turned copies of a rendering are recognised by their digest. Nothing
in the pixels of two renderings proves that two cameras saw the same galaxy, so cameras are joined only where rows are
still in runs of four and the flux within these runs varies less than between them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import FoundRows, Rows, Seen, arrange
from mergershift.archive.channels import open_images
from mergershift.archive.facts import DataSet, Domain, RowStructure
from mergershift.archive.layouts import FileError
from mergershift.archive.metadata import read_metadata
from mergershift.archive.readers import available, read_labels
from mergershift.archive.renderings import digest
from mergershift.core.errors import UserError

SAMPLE = 64
"""Renderings whose turned copies are compared to confirm the published order."""
SAME_FLUX = 1e-6
"""Relative difference in flux up to which two images can be turned copies of each other."""


def read_rows(folder: Path, data_set: DataSet | None = None) -> Rows:
    """Find what the rows of a data set show, by default of the first one in the folder.

    The published order is confirmed by a few images; only where it does not hold are all images read. Raises UserError
    if the folder contains no data set, a file is broken, or `metadata.ecsv` contradicts the images.
    """
    data_set = data_set or clearest(folder)
    labels = read_labels(folder, data_set)
    if structure := published_order(folder, data_set, labels):
        return structure
    return arrange(folder, labels, look(folder, data_set, labels), read_metadata(folder))


def published_order(folder: Path, data_set: DataSet, labels: NDArray[np.int64]) -> RowStructure | None:
    """Return the published row structure if the labels and, in a pristine file, the copies of mergers follow it."""
    try:
        structure = RowStructure.from_labels(labels)
    except ValueError:
        return None
    if data_set.domain is Domain.NOISY or not structure.mergers:
        # Noisy copies need not have the same noise, so that they confirm nothing.
        return structure
    images = open_images(folder, data_set)
    if len(images) != len(labels):
        raise FileError(images.path, f"{len(images)} images", f"{len(labels)}, one per label")
    chosen = np.unique(np.linspace(0, structure.block_rows - 1, SAMPLE).astype(np.int64))
    blocks = np.arange(len(structure.BLOCKS))[:, None] * structure.block_rows
    # The flux of a copy is the original's up to rounding, also where an archive has not copied bit for bit.
    pixels = images[(chosen + blocks).reshape(-1)]
    flux = pixels.mean(axis=(1, 2, 3)).reshape(len(blocks), len(chosen))
    return structure if copies_agree(flux) else None


def copies_agree(flux: NDArray[np.float64]) -> bool:
    """Whether most images have the same flux in all blocks `(5, n)`: a few that differ are damaged, not reordered."""
    return bool(np.isclose(flux[1:], flux[0], rtol=SAME_FLUX, atol=0).mean() > 0.5)


def look(folder: Path, data_set: DataSet, labels: NDArray[np.int64]) -> Seen:
    """Read all images of a data set and identify the renderings that they show."""
    images = open_images(folder, data_set)
    if len(images) != len(labels):
        raise FileError(images.path, f"{len(images)} images", f"{len(labels)}, one per label")
    shapeless, flux = np.empty(len(labels), np.uint64), np.empty(len(labels))
    for block, pixels in images.blocks(128):
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
