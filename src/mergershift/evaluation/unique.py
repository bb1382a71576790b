"""Count every rendering once."""

from __future__ import annotations

import pandas as pd


def unique_renderings(predictions: pd.DataFrame) -> pd.DataFrame:
    """Keep one row per role, galaxy and camera (and seed, if there is such a column): the first by row number.

    The archive holds each merger's rendering five times, flipped and rotated. Under a split by galaxy the row
    kept is the one as rendered; under the published split by image it is the first copy that the test set
    has.
    """
    keys = [name for name in ("seed", "role", "galaxy", "camera") if name in predictions]
    ordered = predictions.sort_values("row", kind="stable")
    return predictions.loc[ordered.drop_duplicates(keys).index.sort_values()]
