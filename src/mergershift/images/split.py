"""The split of the rows into training, validation and test: by galaxy, or by image as for the published scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import Rows
from mergershift.config import SplitConfig


def row_table(rows: Rows, rule: SplitConfig) -> pd.DataFrame:
    """Return the split of the archive's rows, one line per row: row, galaxy, camera, block, split, trains.

    `trains` names the domain that may train on a row. It is "both" for training rows, or "source" or "target" under
    `disjoint_domains`, and empty for all other rows. Raises ValueError if a class has too few galaxies for training,
    validation and test.
    """
    table = pd.DataFrame(
        {
            "row": np.arange(rows.rows),
            "galaxy": rows.galaxy,
            "camera": rows.camera,
            "block": rows.block,
        }
    )
    if rule.kind == "published_leaky":
        table["split"] = _by_image(rows.rows, rule)
        table["trains"] = np.where(table["split"] == "train", "both", "")
        return table
    galaxies, trains = _by_galaxy(rows, rule)
    table["split"] = galaxies[rows.galaxy]
    table["trains"] = trains[rows.galaxy]
    return table


def _sizes(count: int, rule: SplitConfig) -> tuple[int, int]:
    return round(count * rule.train), round(count * rule.validation)


def _by_image(rows: int, rule: SplitConfig) -> NDArray[np.object_]:
    # Only the legacy generator reproduces the published test counts.
    order = np.random.RandomState(rule.seed).permutation(rows)
    train, validation = _sizes(rows, rule)
    split = np.full(rows, "test", dtype=object)
    split[order[:train]] = "train"
    split[order[train : train + validation]] = "validation"
    return split


def _by_galaxy(rows: Rows, rule: SplitConfig) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    rng = np.random.default_rng(rule.seed)
    total = rows.mergers + rows.non_mergers
    split = np.full(total, "test", dtype=object)
    trains = np.full(total, "", dtype=object)
    classes = {"mergers": (0, rows.mergers), "non-mergers": (rows.mergers, total)}
    for name, (first, end) in classes.items():
        order = first + rng.permutation(end - first)
        train, validation = _sizes(len(order), rule)
        if train < 1 + rule.disjoint_domains or min(validation, len(order) - train - validation) < 1:
            raise ValueError(
                f"{len(order)} {name} are too few for a split into {rule.train:.0%} training, "
                f"{rule.validation:.0%} validation and the rest test; use more galaxies or other fractions"
            )
        split[order[:train]] = "train"
        split[order[train : train + validation]] = "validation"
        trains[order[:train]] = "both"
        if rule.disjoint_domains:
            trains[order[: train // 2]] = "source"
            trains[order[train // 2 : train]] = "target"
    return split, trains


def first_renderings(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return a mask `(N,)` of the table's rows, True for the first row of each rendering (galaxy and camera)."""
    return ~table.duplicated(["galaxy", "camera"], keep="first").to_numpy()
