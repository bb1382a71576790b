"""Count every rendering once."""

from __future__ import annotations

import numpy as np
import pandas as pd


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
