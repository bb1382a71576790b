"""The per-image arrays that the archive's authors published, as the source of the metadata table.

They are in https://github.com/deepskies/deepmerge-public and have one row per image of the archive, in its row order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import Rows, by_ids
from mergershift.archive.metadata import write_metadata
from mergershift.archive.readers import read_labels
from mergershift.archive.rows import clearest, look, published_order
from mergershift.core.errors import UserError, first_line

IDS_NAME = "subsamples_ID.npy"
STAGES_NAME = "subsamples_y.npy"
MASSES_NAME = "logMstar.npy"
ARRAYS_ADDRESS = "https://github.com/deepskies/deepmerge-public"
OTHER_ARCHIVE = "Check that the array belongs to the archive in this folder and not to another one."


def add_published_metadata(folder: Path, arrays: Path) -> Path:
    """Write `metadata.ecsv` for the real archive in `folder` from the published per-image arrays in `arrays`.

    Where the rows are in another order than the published one, the ids identify the galaxies.

    Raises UserError if an array is missing, or its labels or galaxies differ from those of the archive.
    """
    data_set = clearest(folder)
    labels = read_labels(folder, data_set)
    ids = _published(arrays / IDS_NAME, (len(labels),))
    classes = _published(arrays / STAGES_NAME, (len(labels), 3))
    masses = _published(arrays / MASSES_NAME, (len(labels),))
    _expect_equal(arrays / STAGES_NAME, classes[:, 0], labels, "label")
    _expect_equal(arrays / STAGES_NAME, classes[:, 1] + classes[:, 2], labels, "past or future")
    stage = np.select([classes[:, 1] == 1, classes[:, 2] == 1], ["past", "future"], "")
    rows: Rows | None = published_order(folder, data_set, labels)
    if rows is None:
        rows = by_ids(folder, labels, ids.astype(np.int64), look(folder, data_set, labels))
    galaxy = rows.galaxy
    first = np.unique(galaxy, return_index=True)[1]
    _expect_equal(arrays / IDS_NAME, ids, ids[first][galaxy], "subhalo id")
    if len(np.unique(ids[first])) != len(first):
        found = f"{len(np.unique(ids))} galaxies, expected {len(first)}"
        raise UserError(f"{arrays / IDS_NAME}: {found}, as the labels in {folder} imply.\n{OTHER_ARCHIVE}")
    return write_metadata(folder, rows, stage=stage, log_mstar=masses, subhalo=ids)


def _published(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    if not path.is_file():
        raise UserError(f"{path}: does not exist.\nThe archive's authors publish it in {ARRAYS_ADDRESS}.")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path}: not an npy file ({first_line(error)}).\nDownload it again from {ARRAYS_ADDRESS}."
        ) from None
    if values.shape != shape:
        raise UserError(f"{path}: shape {values.shape}, expected {shape} as in the archive.\n{OTHER_ARCHIVE}")
    return np.asarray(values)


def _expect_equal(path: Path, found: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    different = np.flatnonzero(found != expected)
    if len(different):
        row = different[0]
        raise UserError(
            f"{path}: {what} {found[row]} in row {row}, expected {expected[row]} ({len(different)} such rows).\n"
            f"{OTHER_ARCHIVE}"
        )
