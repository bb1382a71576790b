"""The metadata table `metadata.ecsv`, kept next to the images, which describes what each row shows.

The galaxy and camera of a row follow from the row structure alone. The properties of a galaxy (past or future
merger, mass ratio, stellar mass, number in Illustris-1) are known for a mock; for the archive they come from
per-image arrays that its authors published in https://github.com/deepskies/deepmerge-public.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.archive.facts import RowStructure
from mergershift.archive.readers import available, read_structure
from mergershift.core.errors import UserError, first_line
from mergershift.core.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

METADATA_NAME = "metadata.ecsv"
COLUMNS = ("row", "galaxy", "camera", "block", "merger", "stage", "mass_ratio", "log_mstar", "subhalo")
STAGES = ("past", "future", "")
UNKNOWN_SUBHALO = -1

IDS_NAME = "subsamples_ID.npy"
STAGES_NAME = "subsamples_y.npy"
MASSES_NAME = "logMstar.npy"
ARRAYS_ADDRESS = "https://github.com/deepskies/deepmerge-public"
OTHER_ARCHIVE = "Check that the array belongs to the archive in this folder and not to another one."


def write_metadata(
    folder: Path,
    structure: RowStructure,
    *,
    stage: ArrayLike,
    log_mstar: ArrayLike,
    mass_ratio: ArrayLike | None = None,
    subhalo: ArrayLike | None = None,
) -> Path:
    """Write the metadata table to `metadata.ecsv` in `folder` and return its path.

    Each argument has one value per galaxy, `(mergers + non_mergers,)`, or one per row, `(N,)`.

    Args:
        folder: Data folder to write to.
        structure: Row structure of the data sets in the folder.
        stage: "past", "future" or "" (not a merger).
        log_mstar: log10 of the stellar mass in solar masses.
        mass_ratio: Smaller over larger stellar mass, in (0, 1]; NaN if unknown or without an encounter.
        subhalo: Number of the galaxy in Illustris-1; leave it out if unknown.

    Raises ValueError if an array has another length or a stage is none of the three.
    """
    from astropy.table import Table

    galaxies = structure.mergers + structure.non_mergers

    def by_row(name: str, values: ArrayLike) -> NDArray[Any]:
        array = np.asarray(values)
        if array.shape == (galaxies,):
            return array[structure.galaxy]
        if array.shape == (structure.rows,):
            return array
        raise ValueError(f"{name}: shape {array.shape}, expected ({galaxies},) or ({structure.rows},)")

    stages = by_row("stage", stage).astype(str)
    if strange := set(stages) - set(STAGES):
        raise ValueError(f"stage: found {sorted(strange)}, expected {STAGES}")
    unknown_ratio = np.full(galaxies, np.nan)
    unknown_subhalo = np.full(galaxies, UNKNOWN_SUBHALO)
    table = Table(
        {
            "row": np.arange(structure.rows),
            "galaxy": structure.galaxy,
            "camera": structure.camera,
            "block": structure.block,
            "merger": structure.labels,
            "stage": stages,
            "mass_ratio": by_row("mass_ratio", unknown_ratio if mass_ratio is None else mass_ratio).astype(
                float
            ),
            "log_mstar": by_row("log_mstar", log_mstar).astype(float),
            "subhalo": by_row("subhalo", unknown_subhalo if subhalo is None else subhalo).astype(np.int64),
        }
    )
    table.meta["comments"] = [
        "log_mstar: log10 of the stellar mass in solar masses; mass_ratio: smaller over larger"
    ]
    path = folder / METADATA_NAME
    with atomic_file(path, hidden=True) as partial:
        table.write(partial, format="ascii.ecsv", overwrite=True)
    return path


def read_metadata(folder: Path) -> pd.DataFrame | None:
    """Read the metadata table, with the columns `COLUMNS`; None if the folder has none.

    Raises UserError if the file is not such a table.
    """
    from astropy.table import Table

    path = folder / METADATA_NAME
    if not path.is_file():
        return None
    try:
        table = Table.read(path, format="ascii.ecsv")
        frame = (
            table.filled("").to_pandas() if table.masked or table.has_masked_columns else table.to_pandas()
        )
    # The ECSV reader can raise many exceptions on a file in another format.
    except Exception as error:
        raise UserError(
            f"{path}: not a metadata table in ECSV format ({first_line(error)}).\nDelete the file and make it again."
        ) from None
    missing = [name for name in COLUMNS if name not in frame]
    if missing or not np.array_equal(frame["row"], np.arange(len(frame))):
        what = f"columns {missing} are missing" if missing else "rows are not numbered 0, 1, 2, ..."
        raise UserError(f"{path}: {what}.\nDelete the file and make it again.")
    return frame.astype({"stage": str})


def add_published_metadata(folder: Path, arrays: Path) -> Path:
    """Write `metadata.ecsv` for the real archive in `folder` from the published per-image arrays in `arrays`.

    Raises UserError if an array is missing, or its labels or galaxies differ from those of the archive.
    """
    present = available(folder)
    if not present:
        raise UserError(
            f"{folder}: contains no data set to describe.\nFetch one with `mergershift data fetch`."
        )
    structure = read_structure(folder, present[0])
    galaxy = structure.galaxy
    ids = _published(arrays / IDS_NAME, (structure.rows,))
    classes = _published(arrays / STAGES_NAME, (structure.rows, 3))
    masses = _published(arrays / MASSES_NAME, (structure.rows,))
    _expect_equal(arrays / STAGES_NAME, classes[:, 0], structure.labels, "label")
    _expect_equal(arrays / STAGES_NAME, classes[:, 1] + classes[:, 2], structure.labels, "past or future")
    first = np.unique(galaxy, return_index=True)[1]
    _expect_equal(arrays / IDS_NAME, ids, ids[first][galaxy], "subhalo id")
    if len(np.unique(ids[first])) != len(first):
        found = f"{len(np.unique(ids))} galaxies, expected {len(first)}"
        raise UserError(f"{arrays / IDS_NAME}: {found}, as the labels in {folder} imply.\n{OTHER_ARCHIVE}")
    stage = np.select([classes[:, 1] == 1, classes[:, 2] == 1], ["past", "future"], "")
    return write_metadata(folder, structure, stage=stage, log_mstar=masses, subhalo=ids)


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
