"""Leakage of a split: the test images that show a galaxy of the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergershift.archive import Rows
from mergershift.config import SplitConfig
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
