"""The table of predictions: its columns, what they mean, and what the model was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from numpy.typing import NDArray

from mergershift import __version__
from mergershift.registry import COLUMNS

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

NOT_FINITE = "not finite"
DESCRIPTIONS = {
    "file": "file that the image is from; empty for an array",
    "index": "number of the image in its file, from 0",
    **COLUMNS,
    "merger": "1 where the probability is at least THRESHLD, 0 below; none where there is no probability",
    "flag": "what was done to the image; 'as is': taken as on the model's grid, since nothing tells its scale; "
    f"'{NOT_FINITE}': it has pixels that are not, so nothing is predicted",
}
"""What each column means, in their order; numbers without a unit."""


@dataclass(frozen=True)
class Rows:
    """Some rows of the table, without the dress."""

    files: Sequence[str]
    index: NDArray[np.int64]
    scores: NDArray[np.float64]
    """`(n, 3)`, the columns that `registry.COLUMNS` names."""
    notes: Sequence[str]


class Form:
    """What all pieces of one table have in common.

    Args:
        facts: of the model.
        model: how the user named it.
        version: under which it is registered, empty where it is not.
    """

    def __init__(self, facts: ModelFacts, model: str, version: str) -> None:
        self.threshold = facts.threshold
        grid = f"{facts.image_size} x {facts.image_size} pixels, {facts.field_kpc:g} kpc a side"
        self.meta: dict[str, Any] = {
            "MODEL": model,
            "VERSION": version,
            "TRAINING": facts.name,
            "PROGRAM": f"mergershift {__version__}",
            "THRESHLD": facts.threshold,
            "TEMPERAT": facts.temperature,
            "FILTERS": ",".join(facts.filters),
            "comments": [
                f"The model takes images of {grid}, in {facts.unit}, in the filters {', '.join(facts.filters)}.",
                f"It was trained on simulated galaxies at z = {facts.redshift:g} ({', '.join(facts.domains)}). "
                "Where out_of_domain is above 1 an image is unlike those, and its probabilities mean nothing.",
            ],
        }

    def table(self, parts: Sequence[Rows] = ()) -> Table:
        """The parts as one table with descriptions and the model in its `meta`."""
        scores = np.concatenate([np.empty((0, len(COLUMNS))), *(part.scores for part in parts)])
        chance = scores[:, 0]
        none = np.isnan(chance)
        flags = [note for part in parts for note in part.notes]
        for row in np.flatnonzero(none):
            flags[row] = f"{flags[row]}; {NOT_FINITE}" if flags[row] else NOT_FINITE
        merger = np.where(none, 0, chance >= self.threshold).astype(np.uint8)
        columns = {
            "file": _strings([name for part in parts for name in part.files]),
            "index": np.concatenate([np.empty(0, np.int64), *(part.index for part in parts)]),
            **dict(zip(COLUMNS, scores.T, strict=True)),
            "merger": MaskedColumn(merger, mask=none),
            "flag": _strings(flags),
        }
        dressed: list[Column] = []
        for name, description in DESCRIPTIONS.items():
            kind = MaskedColumn if name == "merger" else Column
            dressed.append(kind(columns[name], name=name, description=description))
        return Table(dressed, meta=self.meta)


def _strings(values: list[str]) -> NDArray[np.str_]:
    return np.array(values, dtype=np.str_)
