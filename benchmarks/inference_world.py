"""Made-up classifiers whose true scores are known, for `inference.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mergershift.evaluation.estimates import Estimate, area_under_curve, class_shares

Floats = NDArray[np.float64]
SIZES = {"mock": (30, 60), "archive": (110, 490)}
CAMERAS = 4
GALAXY, RENDERING, GALAXY_OF_SEED, IMAGE_OF_SEED = 1.0, 0.7, 0.4, 0.6
"""Standard deviations of the terms of a logit."""
SPREAD = float(np.sqrt(GALAXY**2 + RENDERING**2 + GALAXY_OF_SEED**2 + IMAGE_OF_SEED**2))
COMMON = 0.6
"""Share of the variance of a galaxy's and a rendering's term that two methods have in common."""


@dataclass(frozen=True)
class Method:
    """A classifier by the separation of the classes, its threshold, and the scatter of its shift over seeds."""

    separation: float
    threshold: float
    scatter: float = 0.0

    @property
    def accuracy(self) -> float:
        """True balanced accuracy, in the mean over seeds."""
        spread = np.hypot(SPREAD, self.scatter)
        return float(ndtr((self.separation - self.threshold) / spread) + ndtr(self.threshold / spread)) / 2

    @property
    def area(self) -> float:
        """True area under the ROC curve of a seed."""
        return float(ndtr(self.separation / SPREAD / np.sqrt(2)))


def with_accuracy(accuracy: float, threshold: float) -> Method:
    """The method with this true balanced accuracy at this threshold."""
    return Method(threshold + SPREAD * float(ndtri(2 * accuracy - ndtr(threshold / SPREAD))), threshold)


class World:
    """Test galaxies and the logits of methods on them."""

    def __init__(self, size: str, rng: np.random.Generator) -> None:
        mergers, others = SIZES[size]
        self.rng = rng
        self.classes = np.repeat([1, 0], [mergers, others])
        self.members = np.repeat(np.arange(len(self.classes)), CAMERAS)
        self.truth = self.classes[self.members] == 1
        self.images = np.full(len(self.classes), float(CAMERAS))

    def logits(self, methods: list[Method], seeds: int) -> list[Floats]:
        """Logits `(S, N)` of each method, above its threshold at 0."""
        galaxies, images, normal = len(self.classes), len(self.members), self.rng.normal
        common = normal(size=galaxies), normal(size=images)
        found = []
        for method in methods:
            own = [
                np.sqrt(COMMON) * shared + np.sqrt(1 - COMMON) * normal(size=len(shared)) for shared in common
            ]
            logits = GALAXY * own[0][self.members] + RENDERING * own[1] + method.separation * self.truth
            noise = GALAXY_OF_SEED * normal(size=(seeds, galaxies))[:, self.members]
            noise += IMAGE_OF_SEED * normal(size=(seeds, images)) + method.scatter * normal(size=(seeds, 1))
            found.append(logits + noise - method.threshold)
        return found

    def accuracy(self, logits: Floats) -> Estimate:
        """Estimate the balanced accuracy."""
        right = [np.bincount(self.members, own) for own in (logits >= 0) == self.truth]
        return class_shares(np.stack(right), self.images, self.classes, (0.5, 0.5))

    def area(self, logits: Floats) -> Estimate:
        """Estimate the area under the ROC curve."""
        return area_under_curve(logits, self.truth, self.members, self.classes)
