"""How many test images show a galaxy that is also in the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mergershift.archive import RowStructure
from mergershift.config import SplitConfig
from mergershift.images.split import row_table


@dataclass(frozen=True)
class Leak:
    """Test images of one class, and those among them whose galaxy is seen in training."""

    test_images: int
    seen_in_training: int

    @property
    def fraction(self) -> float:
        """Leaked part of the test images, 0 to 1."""
        return self.seen_in_training / self.test_images if self.test_images else 0.0


def leakage(structure: RowStructure, rule: SplitConfig) -> dict[str, Leak]:
    """Audit a split, for "mergers" and "non-mergers" apart."""
    table = row_table(structure, rule)
    return audit(table, structure.labels)


def audit(table: pd.DataFrame, labels: np.ndarray) -> dict[str, Leak]:
    """Audit any table with the columns galaxy and split, one line an entry of `labels` `(N,)`."""
    trained = set(table.loc[table["split"] == "train", "galaxy"])
    test = (table["split"] == "test").to_numpy()
    seen = table["galaxy"].isin(trained).to_numpy()
    return {
        name: Leak(int(np.sum(test & (labels == label))), int(np.sum(test & seen & (labels == label))))
        for name, label in (("mergers", 1), ("non-mergers", 0))
    }
