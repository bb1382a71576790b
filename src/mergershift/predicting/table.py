"""The table of predictions: its columns, their meaning and a description of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from mergershift import __version__
from mergershift.archive import images_of
from mergershift.registry import COLUMNS

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

NOT_FINITE = "not finite"
DESCRIPTIONS = {
    "file": "file that contains the image; empty for an array",
    "index": "index of the image in its file, starting at 0",
    **COLUMNS,
    "merger": "1 if the probability is at least THRESHLD, 0 if it is less; masked if there is no probability",
    "flag": "how the image was converted; 'as is': its scale is unknown and assumed to be that of the model; "
    f"'{NOT_FINITE}': it has NaN or infinite pixels, so nothing is predicted",
}
"""Descriptions of the columns, in their order; all numbers are dimensionless."""


@dataclass(frozen=True)
class Rows:
    """Values of some rows of the table."""

    files: Sequence[str]
    index: NDArray[np.int64]
    scores: NDArray[np.float64]
    """Scores `(n, 3)` in the columns `registry.COLUMNS`."""
    notes: Sequence[str]


def warning(facts: ModelFacts) -> str | None:
    """Warn that a model's training images were not the archive's; None if they were."""
    if facts.data_kind == "archive":
        return None
    consequence = {"mock": "its predictions carry no information about real galaxies"}
    return (
        f"The model was trained on {images_of(facts.data_kind)}: "
        f"{consequence.get(facts.data_kind, 'do not cite its predictions')}."
    )


class Form:
    """The format and metadata that all pieces of one table share.

    Args:
        facts: Facts about the model.
        model: Name of the model as given by the user.
        version: Version under which the model is registered; empty if it is not registered.
    """

    def __init__(self, facts: ModelFacts, model: str, version: str) -> None:
        self.threshold = facts.threshold
        self.warning = warning(facts)
        grid = f"{facts.image_size} x {facts.image_size} pixels, {facts.field_kpc:g} kpc wide"
        self.meta: dict[str, Any] = {
            "MODEL": model,
            "VERSION": version,
            "TRAINING": facts.name,
            "DATAKIND": facts.data_kind,
            "PROGRAM": f"mergershift {__version__}",
            "THRESHLD": facts.threshold,
            "TEMPERAT": facts.temperature,
            "FILTERS": ",".join(facts.filters),
            "comments": [
                *([self.warning] if self.warning else []),
                f"The model expects images of {grid}, in {facts.unit}, in the filters {', '.join(facts.filters)}.",
                f"It was trained on simulated galaxies at z = {facts.redshift:g} ({', '.join(facts.domains)}). "
                "If out_of_domain is above 1, the image is unlike those, and its probabilities are meaningless.",
            ],
        }

    def table(self, parts: Sequence[Rows] = ()) -> Table:
        """Join the parts into one table, with descriptions of the columns and the model in its `meta`."""
        scores = np.concatenate([np.empty((0, len(COLUMNS))), *(part.scores for part in parts)])
        probability = scores[:, 0]
        missing = np.isnan(probability)
        flags = [note for part in parts for note in part.notes]
        for row in np.flatnonzero(missing):
            flags[row] = f"{flags[row]}; {NOT_FINITE}" if flags[row] else NOT_FINITE
        merger = np.where(missing, 0, probability >= self.threshold).astype(np.uint8)
        columns = {
            "file": _strings([name for part in parts for name in part.files]),
            "index": np.concatenate([np.empty(0, np.int64), *(part.index for part in parts)]),
            **dict(zip(COLUMNS, scores.T, strict=True)),
            "merger": MaskedColumn(merger, mask=missing),
            "flag": _strings(flags),
        }
        described: list[Column] = []
        for name, description in DESCRIPTIONS.items():
            kind = MaskedColumn if name == "merger" else Column
            described.append(kind(columns[name], name=name, description=description))
        return Table(described, meta=self.meta)


def _strings(values: list[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)
