"""Leakage of a split: the test images that show a galaxy of the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergershift.archive import Images, Rows
from mergershift.config import SplitConfig
from mergershift.images.near_duplicates import SIMILAR, near_duplicates
from mergershift.images.split import row_table


@dataclass(frozen=True)
class Leak:
    """Number of test images of one class, and of those among them whose galaxy is in the training set."""

    test_images: int
    seen_in_training: int

    @property
    def fraction(self) -> float:
        """Fraction of the test images that are leaked, from 0 to 1."""
        return self.seen_in_training / self.test_images if self.test_images else 0.0


def leakage(rows: Rows, rule: SplitConfig) -> dict[str, Leak]:
    """Count the leaked test images of a split, separately for "mergers" and "non-mergers"."""
    table = row_table(rows, rule)
    return audit(table, rows.labels)


def audit(table: pd.DataFrame, labels: np.ndarray) -> dict[str, Leak]:
    """Count the leaked test images in a table with the columns galaxy and split and one row per label `(N,)`."""
    trained = set(table.loc[table["split"] == "train", "galaxy"])
    test = (table["split"] == "test").to_numpy()
    seen = table["galaxy"].isin(trained).to_numpy()
    return {
        name: Leak(int(np.sum(test & (labels == label))), int(np.sum(test & seen & (labels == label))))
        for name, label in (("mergers", 1), ("non-mergers", 0))
    }


def shared_sky(images: Images, rows: Rows, rule: SplitConfig) -> list[str]:
    """Say which pairs of galaxies have images that overlap, and whether a split would separate them by itself.

    Raises ValueError if a class has too few galaxies for the split.
    """
    pairs = near_duplicates(images, rows)
    if not pairs:
        return [
            f"no two galaxies share a part of the sky (similarity of at least {SIMILAR:g} where images overlap)"
        ]
    split = row_table(rows, rule.model_copy(update={"near_duplicates": "ignored"}))
    part = split.groupby("galaxy")["split"].first()
    fate = "are kept on one side" if rule.near_duplicates == "together" else "stay where they are"
    apart = sum(part[one] != part[other] for one, other in (pair.galaxies for pair in pairs))
    lines = [
        f"galaxies {pair.galaxies[0]} and {pair.galaxies[1]} share a part of the sky: {pair.offset_kpc:.0f} kpc apart, "
        f"similarity {pair.similarity:.2f}, rows {pair.rows[0]} and {pair.rows[1]}"
        for pair in pairs
    ]
    return [
        *lines,
        f"{apart} of {len(pairs)} such pairs would be in different parts of the split; all {fate} "
        f"(split.near_duplicates={rule.near_duplicates})",
    ]
