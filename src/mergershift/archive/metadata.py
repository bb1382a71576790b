"""A table of what each row shows, kept beside the images as `metadata.ecsv`.

Which galaxy and camera a row shows follows from the row structure alone. What a galaxy is (past or future
merger, mass ratio, stellar mass, its number in Illustris-1) is known for a mock, and for the archive from
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


def write_metadata(
    folder: Path,
    structure: RowStructure,
    *,
    stage: ArrayLike,
    log_mstar: ArrayLike,
    mass_ratio: ArrayLike | None = None,
    subhalo: ArrayLike | None = None,
) -> Path:
    """Write the table of all rows to `metadata.ecsv` in `folder` and return its path.

    Each argument holds one value a galaxy, `(mergers + non_mergers,)`, or one a row, `(N,)`: `stage` "past",
    "future" or "" (no merger), `log_mstar` log10 of the stellar mass in solar masses, `mass_ratio` in (0, 1],
    smaller over larger (NaN for none or unknown), `subhalo` the Illustris-1 number (unknown: left out).
    Raises ValueError where a length fits neither or a stage is none of the three.
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
    """Read the table of all rows with the columns `COLUMNS`; None where the folder has none.

    Raises UserError where the file is no such table.
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
    # the reader of ECSV fails in many ways on a file that is none
    except Exception as error:
        raise UserError(
            f"{path}: not a table of rows ({first_line(error)}); delete it and make it again"
        ) from None
    missing = [name for name in COLUMNS if name not in frame]
    if missing or not np.array_equal(frame["row"], np.arange(len(frame))):
        what = f"columns {missing} missing" if missing else "rows not numbered 0, 1, 2, ..."
        raise UserError(f"{path}: {what}; delete it and make it again")
    return frame.astype({"stage": str})


def add_published_metadata(folder: Path, arrays: Path) -> Path:
    """Write `metadata.ecsv` of a real archive in `folder` from the published per-image arrays in `arrays`.

    Raises UserError where an array is missing or its labels or galaxies differ from those of the archive.
    """
    present = available(folder)
    if not present:
        raise UserError(f"{folder}: no data set to describe\nFetch one with `mergershift data fetch`")
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
        raise UserError(
            f"{arrays / IDS_NAME}: {found}, as the labels in {folder} imply; is it of another archive?"
        )
    stage = np.select([classes[:, 1] == 1, classes[:, 2] == 1], ["past", "future"], "")
    return write_metadata(folder, structure, stage=stage, log_mstar=masses, subhalo=ids)


def _published(path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    if not path.is_file():
        raise UserError(f"{path}: not there; the archive's authors publish it in {ARRAYS_ADDRESS}")
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path}: not an npy file ({first_line(error)}); get it from {ARRAYS_ADDRESS}"
        ) from None
    if values.shape != shape:
        raise UserError(
            f"{path}: shape {values.shape}, expected {shape} as in the archive; is it of another archive?"
        )
    return np.asarray(values)


def _expect_equal(path: Path, found: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    different = np.flatnonzero(found != expected)
    if len(different):
        row = different[0]
        raise UserError(
            f"{path}: {what} {found[row]} in row {row}, expected {expected[row]} ({len(different)} such rows)"
            "; is it of another archive?"
        )
