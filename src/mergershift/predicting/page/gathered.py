"""What the page shows of a set of predictions, gathered batch by batch in bounded memory."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.page.galleries import Gallery
from mergershift.predicting.page.numbers_on_disk import NumbersOnDisk
from mergershift.predicting.rows import Predicted
from mergershift.predicting.summary import Summary
from mergershift.predicting.table import Form
from mergershift.registry import ModelFacts

MOST_WAYS = 1000
"""Number of ways of conversion that are counted individually."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")

Values = NDArray[np.float32]


class Gathered:
    """Numbers of all rows of a set, and the images of its galleries.

    Args:
        form: The form of the table.
        facts: Facts about the model.
        catalogue: Whether the rows are the objects of a catalogue.
    """

    def __init__(self, form: Form, facts: ModelFacts, *, catalogue: bool = False) -> None:
        self.form, self.facts = form, facts
        self.summary = Summary(form, catalogue=catalogue)
        self.ways: Counter[str] = Counter()
        """Numbers of images by way of conversion, in words without numbers."""
        self.way_examples: dict[str, str] = {}
        """The first conversion of each way, in words."""
        self.galleries = {
            name: Gallery() for name in ("mergers", "close", "non-mergers", "distant", "withheld")
        }
        self._numbers = NumbersOnDisk()
        self._measures: tuple[str, ...] = ()

    def add(self, part: Predicted, images: NDArray[np.float32]) -> None:
        """Add rows and their images `(n, C, size, size)`."""
        self.summary.add(part)
        used = np.array([not row.refused for row in part.rows], dtype=bool)
        scores = {name: self.form.score(part, name) for name in self.form.scores}
        measures = {"coverage": part.coverage, **part.measures}
        redshifts = np.array([row.redshift for row in part.rows])
        self._measures = tuple(measures)
        columns = {**scores, **measures, "redshift": redshifts}
        self._numbers.add({name: np.asarray(values, np.float32)[used] for name, values in columns.items()})
        for row in part.rows:
            if not row.refused:
                self._count(row.conversion)
        self._offer(part, images, used)

    def score(self, name: str) -> Values:
        """Return a score of all images that were not refused, NaN where nothing is predicted."""
        return self._numbers.column(name) if name in self._numbers else np.empty(0, np.float32)

    @property
    def measures(self) -> Mapping[str, Values]:
        """Measures of all images that were not refused, each `(n, C)`."""
        return {name: self._numbers.column(name) for name in self._measures}

    @property
    def redshifts(self) -> Values:
        """Redshifts of all images that were not refused; NaN where none was used."""
        return self.score("redshift")

    @property
    def scatter(self) -> Values | None:
        """Scatter of the probability over the views; None if the model was given a single view."""
        name = "probability_scatter"
        values = self.score(name)
        return values if np.isfinite(values).any() else None

    def _count(self, conversion: str) -> None:
        way = _NUMBER.sub("#", conversion)
        if way in self.ways or len(self.ways) < MOST_WAYS:
            self.ways[way] += 1
            self.way_examples.setdefault(way, conversion)

    def _offer(self, part: Predicted, images: NDArray[np.float32], used: NDArray[np.bool_]) -> None:
        probability = self.form.score(part, "probability")
        distance = self.form.score(part, "feature_distance")
        scatter = np.full(len(probability), np.nan)
        if "probability_scatter" in self.form.scores:
            scatter = self.form.score(part, "probability_scatter")
        merger = probability >= self.form.threshold
        seen = np.isfinite(images).any(axis=(1, 2, 3))
        keys = {
            "mergers": np.where(merger, -probability, np.nan),
            "close": np.abs(probability - self.form.threshold),
            "non-mergers": np.where(merger, np.nan, probability),
            "distant": np.where(distance > 1, -distance, np.nan),
            "withheld": np.where(used & seen & np.isnan(probability), 0.0, np.nan),
        }
        for name, values in keys.items():
            self.galleries[name].offer(values, part.rows, images, probability, scatter)
