"""The split of the rows into training, validation and test: by galaxy, or by image as for the published scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import Domain, Rows
from mergershift.config import SplitConfig


def row_table(rows: Rows, rule: SplitConfig, pairs: Sequence[tuple[int, int]] = ()) -> pd.DataFrame:
    """Return the split of the archive's rows, one line per row: row, galaxy, camera, block, split, trains.

    `trains` names the domain that may train on a row. It is "both" for training rows, or "source" or "target" under
    `disjoint_domains`, and empty for all other rows. Galaxies that `pairs` connect are all where the first of them is
    (see `near_duplicates`), unless the split is by image. Raises ValueError if a class has too few galaxies for
    training, validation and test.

    Under `independent_domains`, `split` is that of the pristine images; `split_noisy` is another permutation.
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
        permutations = np.random.RandomState(rule.seed)  # only it reproduces the published test counts
        for domain in Domain if rule.independent_domains else (Domain.PRISTINE,):
            table[_OF_NOISY if domain == Domain.NOISY else "split"] = _by_image(rows.rows, rule, permutations)
        trains = np.logical_or.reduce(
            [table[name] == "train" for name in table if name in ("split", _OF_NOISY)]
        )
        table["trains"] = np.where(trains, "both", "")
        return table
    galaxies, trains = _by_galaxy(rows, rule)
    shown = leaders(pairs, len(galaxies))[rows.galaxy]
    table["split"] = galaxies[shown]
    table["trains"] = trains[shown]
    return table


_OF_NOISY = "split_noisy"


def split_of(table: pd.DataFrame, domain: Domain | None) -> pd.Series:
    """Return the part of the split to which a domain's image of each row belongs; None is the pristine domain."""
    return table[_OF_NOISY if domain == Domain.NOISY and _OF_NOISY in table else "split"]


def _sizes(count: int, rule: SplitConfig) -> tuple[int, int]:
    return round(count * rule.train), round(count * rule.validation)


def _by_image(rows: int, rule: SplitConfig, generator: np.random.RandomState) -> NDArray[np.object_]:
    order = generator.permutation(rows)
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


def leaders(pairs: Sequence[tuple[int, int]], galaxies: int) -> NDArray[np.int64]:
    """Return for each galaxy `(galaxies,)` the lowest number among those that pairs connect it with."""
    leader = np.arange(galaxies)
    for one, other in pairs:
        low, high = sorted((leader[one], leader[other]))
        leader[leader == high] = low
    return leader
