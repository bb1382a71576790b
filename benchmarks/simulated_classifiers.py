"""Simulated classifiers for `validators.py`: normal scores whose separation, operating point and sureness are drawn.

A classifier gives images of a class normal scores with standard deviation 1, and the two means differ by a separation.
Its log odds are the score plus a bias, times a slope. In the target all three vary between classifiers, so that a sure
one need not be right; scores of an image by different classifiers are correlated. The true balanced accuracy is known.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from mergershift.evaluation import VALIDATORS, Evidence, regret
from mergershift.evaluation.validators import NEEDS_FEATURES, ORACLE, oracle_target_balanced_accuracy

Floats = NDArray[np.float64]
IMAGES = 160
"""Number of images of each domain, about as many as half of the demo's validation galaxies have."""
CLASSIFIERS = 12
LEFT_OUT = (*NEEDS_FEATURES, "soft_neighbourhood_density")
"""Validators that need features, or that no reader will miss for their time."""


def regrets_of_sets(share: float, sets: int, images: int = IMAGES) -> dict[str, list[float]]:
    """Regret `(sets,)` of each validator, of the oracle on the same images and of chance, in sets of classifiers."""
    names = [name for name in VALIDATORS if name not in LEFT_OUT]
    found: dict[str, list[float]] = {}
    for number in range(sets):
        rng = np.random.default_rng([number, round(1000 * share)])
        cases, truth = zip(*_classifiers(rng, share, images), strict=True)
        for name in names:
            scores = [VALIDATORS[name](case) for case in cases]
            found.setdefault(name, []).append(regret(scores, truth))
        seen = [oracle_target_balanced_accuracy(case.source_labels, case.target_logits) for case in cases]
        found.setdefault(ORACLE, []).append(regret(seen, truth))
        found.setdefault("chance", []).append(regret(np.zeros(len(cases)), truth))
    return found


def _classifiers(rng: np.random.Generator, share: float, images: int) -> Iterator[tuple[Evidence, float]]:
    """Yield classifiers with their balanced accuracies on the target at one half."""
    labels = (np.arange(images) < max(2, round(share * images))).astype(np.int64)
    common = rng.normal(size=images)
    for _ in range(CLASSIFIERS):
        separation, of_source = rng.uniform(0, 2.2), rng.uniform(1.2, 2.2)
        slope, bias = 1.6 * np.exp(rng.normal(0, 0.5)), rng.normal(0, 1.2)
        shared = rng.choice([0.5, 0.8])
        noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=images)
        target = _logits(slope * (noise + separation * (labels - 0.5) + bias))
        source = _logits(slope * (rng.normal(size=images) + of_source * (labels - 0.5)))
        case = Evidence(
            source_features=source,
            source_logits=source,
            source_labels=labels,
            target_features=target,
            target_logits=target,
            class_shares=np.array([1 - share, share]),
        )
        yield case, float(np.mean(norm.cdf([separation / 2 + bias, separation / 2 - bias])))


def _logits(odds: Floats) -> Floats:
    return np.stack([np.zeros(len(odds)), odds], axis=1)
