"""Tables of the predictions of one or several trainings, with one row per test image, and their CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file
from mergershift.core.reading import read_csv

pd.options.mode.string_storage = "python"
"""A study has thousands of small tables, whose few words Arrow takes longer to convert than it takes to read them."""

ROLES = ("source", "target")
"""Roles of the domains: the source provides the labels, and the classifier is applied to the target."""
COLUMNS = ("row", "galaxy", "camera", "block", "role", "domain", "label", "probability", "threshold")
"""Columns that a table needs: the row of the archive; the galaxy, camera and block of its image; the role (`ROLES`)
and the domain (pristine or noisy) of the test; the label, 1 for a merger; the probability of a merger; and the lowest
probability at which an image is classified as one. A column `seed` distinguishes several trainings; `join` adds
`prediction`."""


def join(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables with `COLUMNS` (and `seed`, in all or none of them) and add `prediction` (0 or 1).

    Raises UserError as `check_table` does.
    """
    if len({"seed" in part for part in parts}) > 1:
        raise UserError(
            "predictions: some tables have a column seed and others have none, expected all or none.\n"
            "Add the column to all of them."
        )
    table = pd.concat(parts, ignore_index=True)
    check_table(table, "predictions")
    return table.assign(prediction=(table["probability"] >= table["threshold"]).astype("int64"))


def check_table(table: pd.DataFrame, origin: str) -> None:
    """Raise UserError, with `origin` as the name of the table, unless `table` is a valid table of predictions."""
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{origin}: no column {', '.join(missing)}, expected {', '.join(COLUMNS)}.\n"
            "Evaluate the training again."
        )
    if table.empty:
        raise UserError(
            f"{origin}: no predictions, expected one row per test image.\nEvaluate the training again."
        )
    keys = [name for name in ("seed", "role", "row") if name in table]
    chances = {name: _numbers(table[name]) for name in ("probability", "threshold")}
    requirements = {
        f"role is neither {' nor '.join(ROLES)}": table["role"].isin(ROLES).to_numpy(),
        "label is neither 0 nor 1": table["label"].isin((0, 1)).to_numpy(),
        **{
            f"{name} is not a number from 0 to 1": (values >= 0) & (values <= 1)
            for name, values in chances.items()
        },
        "duplicate image": ~table.duplicated(keys).to_numpy(),
    }
    for fault, valid in requirements.items():
        if not valid.all():
            first = int((~valid).argmax())
            raise UserError(
                f"{origin}: {fault} in {int((~valid).sum())} of {len(table)} rows, first at index {first}.\n"
                "Evaluate the training again."
            )


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    if column.dtype != np.float64:
        column = pd.to_numeric(column, errors="coerce")
    return column.to_numpy(dtype=np.float64)


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write a table of predictions as CSV, completely or not at all; raises UserError if it is not valid."""
    check_table(table, path.name)
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a file of `write_predictions`, exact to the last bit; raises UserError if it is missing or not valid."""
    types = {"role": str, "domain": str, "probability": float, "threshold": float}
    columns = {name: types.get(name, int) for name in COLUMNS}
    table = read_csv(path, columns, "Evaluate the training again with `mergershift evaluate`.")
    check_table(table, str(path))
    return table


def unique_renderings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep the first row, by row number, of each role, galaxy and camera (and seed, if there is such a column).

    The archive contains each rendering of a merger five times, flipped and rotated. Under a split by galaxy, the
    row kept is the original rendering; under the published split by image, it is the first copy in the test set.
    """
    keys = [name for name in ("seed", "role", "galaxy", "camera") if name in predictions]
    # Rows are chosen by position, because the index labels of a concatenated table are not unique.
    order = np.argsort(predictions["row"].to_numpy(), kind="stable")
    first = ~predictions.iloc[order].duplicated(keys).to_numpy()
    return predictions.iloc[np.sort(order[first])]
