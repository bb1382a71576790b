"""Choice of the decision threshold between mergers and non-mergers on labelled validation images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import check_predictions

_BELOW_ONE = math.nextafter(1.0, 0.0)


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the threshold in (0, 1) that maximises the balanced accuracy of ``probability >= threshold``.

    All thresholds between two neighbouring probabilities give the same decisions, so the best thresholds form
    plateaus; adjacent plateaus that are equally good are merged. Among several best plateaus, the widest is chosen;
    among equally wide ones (to 1e-12), the one whose middle is nearest to 0.5, and then the lower one. The middle of
    the plateau is returned, because unseen images can fall on either side of its edges. If the threshold makes no
    difference (for instance because all probabilities are equal), the result is 0.5.

    Args:
        labels: 1 for a merger, 0 for a non-merger, `(N,)`.
        probabilities: probability of a merger, `(N,)`.

    Raises ValueError if shapes, labels or probabilities are not valid, or if a class is missing.
    """
    truth, chance = check_predictions(labels, probabilities)
    mergers, others = int(truth.sum()), int((~truth).sum())
    if not mergers or not others:
        raise ValueError(f"{mergers} mergers and {others} non-mergers, expected images of both classes")
    levels, place = np.unique(chance, return_inverse=True)
    # A threshold in (edges[i], edges[i + 1]] classifies all images with at least levels[i] as mergers.
    edges = [0.0, *levels.tolist(), 1.0]
    called_mergers = mergers - np.cumsum(np.r_[0, np.bincount(place[truth], minlength=len(levels))])
    called_others = others - np.cumsum(np.r_[0, np.bincount(place[~truth], minlength=len(levels))])
    # Recall minus false-positive rate, times the sizes of both classes, is an integer and compares exactly.
    gain = (called_mergers * others - called_others * mergers).tolist()
    plateaus: list[tuple[int, float, float]] = []
    for value, low, high in zip(gain, edges[:-1], edges[1:], strict=True):
        if math.nextafter(low, 1.0) > min(high, _BELOW_ONE):
            continue
        if plateaus and plateaus[-1][0] == value:
            low = plateaus.pop()[1]
        plateaus.append((value, low, high))
    best = max(value for value, _, _ in plateaus)
    _, low, high = min(
        (plateau for plateau in plateaus if plateau[0] == best),
        key=lambda plateau: (
            -round(plateau[2] - plateau[1], 12),
            round(abs((plateau[1] + plateau[2]) / 2 - 0.5), 12),
        ),
    )
    # The middle of two neighbouring floats may be rounded to the lower edge, which gives other decisions.
    return max((low + high) / 2, math.nextafter(low, 1.0))
