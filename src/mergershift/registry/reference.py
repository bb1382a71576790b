"""Distributions of measures of training images, with which new images are compared."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

LEVELS = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)

Quantiles = dict[str, dict[str, tuple[float, ...]]]
"""Quantiles by filter and measure (`images.measure.MEASURES`), without measures that no image has."""


class Reference(BaseModel):
    """Quantiles of the measures of the images that a model was trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: tuple[float, ...]
    """Levels of the quantiles, in ascending order."""
    quantiles: dict[str, Quantiles]
    """Quantiles by domain."""

    def ranges(self, filter_name: str, measure: str) -> list[tuple[float, float, float]]:
        """Return the lowest quantile, the median and the highest quantile of a measure in every domain that has it."""
        found = [domain.get(filter_name, {}).get(measure) for domain in self.quantiles.values()]
        middle = self.levels.index(0.5)
        return [(values[0], values[middle], values[-1]) for values in found if values]
