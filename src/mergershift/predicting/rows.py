"""Rows of a table of predictions before the network has seen them: images in the model's format, with their record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.flags import Flag
from mergershift.predicting.planes import Identity


@dataclass(slots=True)
class Row:
    """Record of an image, which becomes a row of the table."""

    identity: Identity
    index: int
    """Number of the image in its file, or of the row in the catalogue, starting at 0."""
    redshift: float = float("nan")
    """The redshift that was used; NaN if none was."""
    filters: tuple[str, ...] = ()
    """The filters that the model was given, in its order; empty if they are assumed."""
    conversion: str = ""
    """What was done to the image, in words."""
    flags: list[Flag] = field(default_factory=list)
    refused: str = ""
    """Reason for which the image cannot be used; empty for images with a prediction."""


@dataclass(slots=True)
class Batch:
    """Images and their records."""

    images: NDArray[np.float32]
    """Images `(n, C, size, size)` in the model's format; NaN where there is no value, and throughout refused ones."""
    coverage: NDArray[np.float32]
    """Share of the field that has a value, by image and filter, `(n, C)`."""
    rows: list[Row]


class Inputs(Protocol):
    """All images of a prediction, in the order of the table's rows."""

    @property
    def count(self) -> int:
        """Number of rows, refused ones included, as far as known."""

    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order."""
