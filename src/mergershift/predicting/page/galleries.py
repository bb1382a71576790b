"""Images that stand for a set of predictions, chosen while the set passes by, and the figures that show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mergershift.predicting.rows import Row
from mergershift.predicting.table import printable
from mergershift.registry import ModelFacts
from mergershift.report.stamps import Sheet, Stretch
from mergershift.report.style import MUTED

SHOWN, COLUMNS = 6, 3
"""Number of images in a gallery, and of those beside each other."""
BAR_KPC = 30
NAME = 22
"""Number of letters of an image's name for which there is room."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image of a gallery."""

    row: Row
    image: NDArray[np.float32]
    """In the model's format, `(C, size, size)`."""
    probability: float
    scatter: float
    """NaN if it is unknown."""


class Gallery:
    """The images with the lowest keys of all that were offered; of equal ones, the first."""

    def __init__(self) -> None:
        self._held: list[tuple[float, int, Example]] = []
        self._offered = 0
        self.count = 0
        """Number of images that belong to the gallery, shown or not."""

    def offer(
        self,
        keys: NDArray[np.floating],
        rows: list[Row],
        images: NDArray[np.float32],
        probability: NDArray[np.floating],
        scatter: NDArray[np.floating],
    ) -> None:
        """Offer a batch of images; those with a NaN as key do not belong to the gallery."""
        belongs = np.flatnonzero(~np.isnan(keys))
        self.count += len(belongs)
        for place in belongs[np.argsort(keys[belongs], kind="stable")][:SHOWN]:
            worst = self._held[-1][0] if len(self._held) == SHOWN else np.inf
            if keys[place] >= worst:
                break
            example = Example(
                rows[place], images[place].copy(), float(probability[place]), float(scatter[place])
            )
            self._held.append((float(keys[place]), self._offered + int(place), example))
            self._held.sort(key=lambda held: held[:2])
            del self._held[SHOWN:]
        self._offered += len(rows)

    @property
    def examples(self) -> list[Example]:
        """The images, in the order of their keys."""
        return [example for _, _, example in self._held]


def sheet(examples: list[Example], facts: ModelFacts) -> Figure:
    """Draw the images of a gallery with their names and probabilities."""
    rows = -(-len(examples) // COLUMNS)
    drawn = Sheet(COLUMNS, rows=rows, left=0, gap=5, labels=(0, 27))
    coloured = Stretch(facts.filter_set).coloured(np.stack([example.image for example in examples]))
    for number, (example, image) in enumerate(zip(examples, coloured, strict=True)):
        column, row = number % COLUMNS, number // COLUMNS
        drawn.stamp(column, row, image)
        drawn.below(column, row, name_of(example.row), fontweight="bold")
        drawn.below(column, row, f"\n{_probability(example)}", color=MUTED.light)
    drawn.bar(0, 0, BAR_KPC / facts.field_kpc, f"{BAR_KPC} kpc")
    return drawn.figure


def name_of(row: Row) -> str:
    """Name an image by its id, shortened to the space below it."""
    name = printable(row.identity.id or f"image {row.index}")
    return name if len(name) <= NAME else f"{name[: NAME // 2 - 1]}…{name[-(NAME // 2) :]}"


def _probability(example: Example) -> str:
    if np.isnan(example.probability):
        return "no prediction"
    scatter = "" if np.isnan(example.scatter) else f" ± {example.scatter:.2f}"
    return f"p {example.probability:.2f}{scatter}"
