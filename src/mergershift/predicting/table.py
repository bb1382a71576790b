"""The table of predictions, and the description of the model that comes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from mergershift import __version__
from mergershift.archive import images_of
from mergershift.predicting.columns import MEASURES, formats
from mergershift.predicting.flags import MEANINGS
from mergershift.predicting.rows import Predicted, Row

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts


def warning(facts: ModelFacts) -> str | None:
    """Warn that a model's training images were not the archive's; None if they were."""
    if facts.data_kind == "archive":
        return None
    consequence = {"mock": "its predictions carry no information about real galaxies"}
    return (
        f"The model was trained on {images_of(facts.data_kind)}: "
        f"{consequence.get(facts.data_kind, 'do not cite its predictions')}."
    )


def limits(facts: ModelFacts) -> list[str]:
    """Say what a model of an earlier version cannot do, in sentences."""
    found = []
    if not facts.calibrated:
        found.append(
            f"Probabilities are means over {facts.views} views of each image; THRESHLD and TEMPERAT were fitted to "
            "single views, since the model is of an earlier version."
        )
    elif not facts.members:
        found.append(
            "Probabilities are of one view of each image: the model is of an earlier version, register it again."
        )
    if facts.reference is None:
        found.append(
            "No image is flagged for its sky or its noise: the model has no statistics of its training images, "
            "register it again."
        )
    return found


class Form:
    """The format and metadata that all pieces of one table share.

    Args:
        facts: Facts about the model.
        model: Name of the model as given by the user.
        version: Version under which the model is registered; empty if it is not registered.
        scores: Descriptions of the scores that the model gives, by their names.
    """

    def __init__(self, facts: ModelFacts, model: str, version: str, scores: Mapping[str, str]) -> None:
        self.threshold = facts.threshold
        self.warning = warning(facts)
        self.limits = limits(facts)
        self.formats = formats(scores, facts.filters)
        self.scores, self._filters = tuple(scores), facts.filters
        self.meta: dict[str, Any] = {
            "MODEL": model,
            "VERSION": version,
            "TRAINING": facts.name,
            "DATA": facts.data_kind,
            "PROGRAM": f"mergershift {__version__}",
            "THRESHLD": facts.threshold,
            "TEMPERAT": facts.temperature,
            "VIEWS": facts.views,
            "FILTERS": ",".join(facts.filters),
            "comments": [*([self.warning] if self.warning else []), *_comments(facts)],
        }

    def score(self, part: Predicted, name: str) -> NDArray[np.float64]:
        """Return a column of the scores, `(n,)`."""
        return part.scores[:, self.scores.index(name)]

    def table(self, parts: Sequence[Predicted] = ()) -> Table:
        """Join the parts into one table, with descriptions of the columns and the model in its `meta`."""
        rows = [row for part in parts for row in part.rows]
        scores = {name: _joined([self.score(part, name) for part in parts]) for name in self.scores}
        missing = np.isnan(scores["probability"])
        values: dict[str, Any] = {
            "id": [printable(row.identity.id) for row in rows],
            "ra": [row.identity.ra for row in rows],
            "dec": [row.identity.dec for row in rows],
            "file": [printable(row.identity.file) for row in rows],
            "index": [row.index for row in rows],
            "z": [row.redshift for row in rows],
            "filters": [",".join(row.filters) for row in rows],
            **scores,
            "merger": np.where(missing, 0, scores["probability"] >= self.threshold),
            "flag": [flag_of(row) for row in rows],
            "conversion": [printable(row.conversion) for row in rows],
        }
        for name in MEASURES:
            by_filter = _joined([_measure(part, name) for part in parts], len(self._filters))
            values |= {
                f"{name}_{filter_name}": column
                for filter_name, column in zip(self._filters, by_filter.T, strict=True)
            }
        columns = [
            form.column(name, values[name], missing if form.kind == "class" else None)
            for name, form in self.formats.items()
        ]
        return Table(columns, meta=self.meta, copy=False)


def flag_of(row: Row) -> str:
    """Write the flags of a row as one text."""
    if row.refused:
        return printable(f"refused: {row.refused}")
    return "; ".join(map(str, row.flags))


def printable(text: str) -> str:
    """Replace characters that a text file cannot contain, as in file names of another encoding, by escape sequences."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )


def _measure(part: Predicted, name: str) -> NDArray[np.floating]:
    unknown = np.full_like(part.coverage, np.nan)
    return part.coverage if name == "coverage" else part.measures.get(name, unknown)


def _joined(parts: Sequence[NDArray[np.floating]], *width: int) -> NDArray[np.float64]:
    return np.concatenate([np.empty((0, *width)), *parts])


def _comments(facts: ModelFacts) -> list[str]:
    grid = f"{facts.image_size} x {facts.image_size} pixels, {facts.field_kpc:g} kpc wide"
    filters = ", ".join(facts.filters)
    return [
        f"The model takes images of {grid}, in {facts.unit}, in the filters {filters}.",
        f"It was trained on simulated galaxies at z = {facts.redshift:g} ({', '.join(facts.domains)}).",
        *limits(facts),
        *_views(facts),
        "feature_distance says how far the network's features are from those of its training images. A value below 1 "
        "does not make a probability right: light that is missing, blurred or of another redshift can pass unnoticed.",
        "Meanings of the words in the column flag, some of which are followed by a filter:",
        *(f"{word}: {meaning}" for word, meaning in MEANINGS.items()),
    ]


def _views(facts: ModelFacts) -> list[str]:
    if not facts.calibrated or not facts.members or facts.views == 1:
        return []
    return [f"Probabilities are means over {facts.views} views of each image."]
