"""The metadata table `metadata.ecsv`, kept next to the images, which describes what each row shows.

The galaxy and camera of a row follow from the published row order alone; `rows` finds them in another order. The
properties of a galaxy (past or future merger, mass ratio, stellar mass, number in Illustris-1) are known for a mock;
for the archive they come from the arrays that its authors published (`authors_arrays`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mergershift.core.errors import UserError, first_line
from mergershift.core.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

    from mergershift.archive.arrangement import Rows

METADATA_NAME = "metadata.ecsv"
COLUMNS = ("row", "galaxy", "camera", "block", "merger", "stage", "mass_ratio", "log_mstar", "subhalo")
STAGES = ("past", "future", "")
UNKNOWN_SUBHALO = -1


def write_metadata(
    folder: Path,
    rows: Rows,
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
        rows: What the rows of the data sets in the folder show.
        stage: "past", "future" or "" (not a merger).
        log_mstar: log10 of the stellar mass in solar masses.
        mass_ratio: Smaller over larger stellar mass, in (0, 1]; NaN if unknown or without an encounter.
        subhalo: Number of the galaxy in Illustris-1; leave it out if unknown.

    Raises ValueError if an array has another length or a stage is none of the three.
    """
    from astropy.table import Table

    galaxies = rows.mergers + rows.non_mergers

    def by_row(name: str, values: ArrayLike) -> NDArray[Any]:
        array = np.asarray(values)
        if array.shape == (galaxies,):
            return array[rows.galaxy]
        if array.shape == (rows.rows,):
            return array
        raise ValueError(f"{name}: shape {array.shape}, expected ({galaxies},) or ({rows.rows},)")

    stages = by_row("stage", stage).astype(str)
    if strange := set(stages) - set(STAGES):
        raise ValueError(f"stage: found {sorted(strange)}, expected {STAGES}")
    unknown_ratio = np.full(galaxies, np.nan)
    unknown_subhalo = np.full(galaxies, UNKNOWN_SUBHALO)
    table = Table(
        {
            "row": np.arange(rows.rows),
            "galaxy": rows.galaxy,
            "camera": rows.camera,
            "block": rows.block,
            "merger": rows.labels,
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
