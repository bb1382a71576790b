"""Which rows train, validate and test: by galaxy, or by image as the published figures had it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import RowStructure
from mergershift.config import SplitConfig


def row_table(structure: RowStructure, rule: SplitConfig) -> pd.DataFrame:
    """One line a row of the archive: row, galaxy, camera, block, split, and which domain may train on it.

    `trains` is "both", "source" or "target" for training rows (the last two under `disjoint_domains`) and empty
    for the others. Raises ValueError where a class has too few galaxies to fall on every side.
    """
    table = pd.DataFrame(
        {
            "row": np.arange(structure.rows),
            "galaxy": structure.galaxy,
            "camera": structure.camera,
            "block": structure.block,
        }
    )
    if rule.kind == "published_leaky":
        table["split"] = _by_image(structure.rows, rule)
        table["trains"] = np.where(table["split"] == "train", "both", "")
        return table
    galaxies, trains = _by_galaxy(structure, rule)
    table["split"] = galaxies[structure.galaxy]
    table["trains"] = trains[structure.galaxy]
    return table


def _sizes(count: int, rule: SplitConfig) -> tuple[int, int]:
    return round(count * rule.train), round(count * rule.validation)


def _by_image(rows: int, rule: SplitConfig) -> NDArray[np.object_]:
    # The legacy generator on purpose: it is the one that gives the published test counts.
    order = np.random.RandomState(rule.seed).permutation(rows)
    train, validation = _sizes(rows, rule)
    split = np.full(rows, "test", dtype=object)
    split[order[:train]] = "train"
    split[order[train : train + validation]] = "validation"
    return split


def _by_galaxy(structure: RowStructure, rule: SplitConfig) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    rng = np.random.default_rng(rule.seed)
    total = structure.mergers + structure.non_mergers
    split = np.full(total, "test", dtype=object)
    trains = np.full(total, "", dtype=object)
    classes = {"mergers": (0, structure.mergers), "non-mergers": (structure.mergers, total)}
    for name, (first, end) in classes.items():
        order = first + rng.permutation(end - first)
        train, validation = _sizes(len(order), rule)
        if train < 1 + rule.disjoint_domains or min(validation, len(order) - train - validation) < 1:
            raise ValueError(
                f"{len(order)} {name} are too few to split {rule.train:.0%} / {rule.validation:.0%} / the rest; "
                "more galaxies or other fractions are needed"
            )
        split[order[:train]] = "train"
        split[order[train : train + validation]] = "validation"
        trains[order[:train]] = "both"
        if rule.disjoint_domains:
            trains[order[: train // 2]] = "source"
            trains[order[train // 2 : train]] = "target"
    return split, trains


def first_renderings(table: pd.DataFrame) -> NDArray[np.bool_]:
    """`(len(table),)` True for the first row of each rendering, a galaxy seen by a camera."""
    return ~table.duplicated(["galaxy", "camera"], keep="first").to_numpy()
