"""The predictions of one or several trainings: one row per test image, and their CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file

ROLES = ("source", "target")
"""Where the labels of the training came from, and where the classifier has to go."""
COLUMNS = ("row", "galaxy", "camera", "block", "role", "domain", "label", "probability", "threshold")
"""What a table must hold: row of the archive, what it shows, whose test it is (`ROLES`), pristine or noisy,
1 for a merger, probability of one, and the probability from which on an image is called one. A column `seed`
tells several trainings apart; `prediction` is added."""


def join(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables with `COLUMNS` (and `seed`, in all or none) under each other and add `prediction` (0 or 1).

    Raises UserError as `check_table` does.
    """
    if len({"seed" in part for part in parts}) > 1:
        raise UserError(
            "predictions: some tables have a column seed and others have none.\nGive all of them one."
        )
    table = pd.concat(parts, ignore_index=True)
    check_table(table, "predictions")
    return table.assign(prediction=(table["probability"] >= table["threshold"]).astype("int64"))


def check_table(table: pd.DataFrame, origin: str) -> None:
    """Raise UserError, naming `origin`, unless `table` is a sound table of predictions."""
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise UserError(f"{origin}: no column {', '.join(missing)}.\nExpected {', '.join(COLUMNS)}.")
    if table.empty:
        raise UserError(f"{origin}: no predictions.\nExpected one row per test image.")
    keys = [name for name in ("seed", "role", "row") if name in table]
    sound = {
        f"role is neither {' nor '.join(ROLES)}": table["role"].isin(ROLES),
        "label is neither 0 nor 1": table["label"].isin((0, 1)),
        "probability is no number from 0 to 1": pd.to_numeric(table["probability"], errors="coerce").between(
            0, 1
        ),
        "threshold is no number from 0 to 1": pd.to_numeric(table["threshold"], errors="coerce").between(
            0, 1
        ),
        "an image stands there twice": ~table.duplicated(keys),
    }
    for fault, fine in sound.items():
        if not fine.all():
            place = int((~fine).to_numpy().argmax())
            raise UserError(
                f"{origin}: {fault} in {int((~fine).sum())} of {len(table)} rows, first at place {place}.\n"
                "Evaluate the training again."
            )


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write a table of predictions as CSV, whole or not at all; raises UserError if it is not sound."""
    check_table(table, path.name)
    with atomic_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_predictions(path: Path) -> pd.DataFrame:
    """Read what `write_predictions` wrote, to the last bit; raises UserError if the file is missing or unsound."""
    if not path.is_file():
        raise UserError(f"{path}: no such file.\nEvaluate the training first: `mergershift evaluate`.")
    try:
        # pandas' own parser of numbers may miss the last bit, and its option for that goes away.
        table = pd.read_csv(path, converters={"probability": float, "threshold": float})
    except ValueError as error:
        raise UserError(f"{path}: not a CSV table ({error}).\nEvaluate the training again.") from error
    check_table(table, str(path))
    return table


def unique_renderings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per role, galaxy and camera (and seed, if there is such a column): the first by row number.

    The archive holds each merger's rendering five times, flipped and rotated. Under a split by galaxy the row
    kept is the one as rendered; under the published split by image it is the first copy that the test set
    has.
    """
    keys = [name for name in ("seed", "role", "galaxy", "camera") if name in predictions]
    # By place, not by index label: a table that was put together from several repeats its labels.
    order = np.argsort(predictions["row"].to_numpy(), kind="stable")
    first = ~predictions.iloc[order].duplicated(keys).to_numpy()
    return predictions.iloc[np.sort(order[first])]
