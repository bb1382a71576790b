"""Measures of the training images, for comparison with those of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mergershift.registry import ModelFacts

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Range:
    """Quantiles of a measure of the training images of one domain."""

    domain: str
    quantiles: tuple[float, float, float, float, float]
    """The lowest quantile that is known, the quartiles and the highest quantile."""

    @property
    def low(self) -> float:
        """Lower end of the range."""
        return self.quantiles[0]

    @property
    def median(self) -> float:
        """Median of the domain."""
        return self.quantiles[2]

    @property
    def high(self) -> float:
        """Upper end of the range."""
        return self.quantiles[-1]


class Training:
    """Quantiles of the measures of a model's training images, where its facts contain them."""

    def __init__(self, facts: ModelFacts) -> None:
        self._reference = facts.reference

    @property
    def known(self) -> bool:
        """Whether the model's facts contain the measures."""
        return self._reference is not None

    @property
    def share(self) -> float:
        """Share of the training images between the lowest and the highest quantile."""
        return self._reference.levels[-1] - self._reference.levels[0] if self._reference else float("nan")

    def ranges(self, measure: str, filter_name: str) -> list[Range]:
        """List the quantiles of a measure in a filter by domain; none if they are unknown."""
        if self._reference is None:
            return []
        quartiles = [self._reference.levels.index(level) for level in (0.25, 0.5, 0.75)]
        found = []
        for domain, by_filter in self._reference.quantiles.items():
            if values := by_filter.get(filter_name, {}).get(measure):
                first, second, third = (values[place] for place in quartiles)
                found.append(Range(domain, (values[0], first, second, third, values[-1])))
        return found


def outside(values: Floats, ranges: list[Range]) -> float:
    """Share of values that are beyond the ranges of all domains; NaN if there is no value or no range."""
    if not ranges or not len(values):
        return float("nan")
    beyond = [(values < domain.low) | (values > domain.high) for domain in ranges]
    return float(np.mean(np.all(beyond, axis=0)))
