"""Rows of a table of predictions before the network has seen them: images in the model's format, with their record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.flags import Flag
from mergershift.predicting.planes import Identity

BATCH = 256
"""Number of images that are read, and given to the network, at a time."""


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
    psf: tuple[float, ...] = ()
    """Full width at half maximum of the point-spread function in pixels of the model, by filter; NaN where it is
    unknown, empty if it is in all."""


@dataclass(slots=True)
class Batch:
    """Images and their records."""

    images: NDArray[np.float32]
    """Images `(n, C, size, size)` in the model's format; NaN where there is no value, and throughout refused ones.

    `quality.examine` fills the pixels without a value."""
    coverage: NDArray[np.float32]
    """Share of the field that has a value, by image and filter, `(n, C)`."""
    rows: list[Row]
    measures: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Measures of the images by their names (`images.measure.MEASURES`), each `(n, C)`; empty before
    `quality.examine`."""


@dataclass(slots=True)
class Predicted:
    """Rows of the table with what the model made of their images."""

    rows: list[Row]
    scores: NDArray[np.float64]
    """Scores in the columns of the model, `(n, K)`; NaN where nothing is predicted."""
    coverage: NDArray[np.float32]
    """As in `Batch`."""
    measures: Mapping[str, NDArray[np.float32]]
    """As in `Batch`."""


class Inputs(Protocol):
    """All images of a prediction, in the order of the table's rows."""

    @property
    def count(self) -> int:
        """Number of rows, refused ones included, as far as known."""

    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order."""
