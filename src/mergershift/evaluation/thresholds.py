"""From where on an image is called a merger, chosen on labelled validation images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import check_predictions

_BELOW_ONE = math.nextafter(1.0, 0.0)


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the threshold in (0, 1) that maximises the balanced accuracy of ``probability >= threshold``.

    Between two neighbouring probabilities every threshold decides alike, so the best ones form plateaus;
    plateaus that touch and are equally good count as one. Of several best ones the widest is taken, of
    equally wide ones (to 1e-12) the one whose middle is nearest 0.5, then the lower one. The middle of the
    plateau is returned, because unseen images fall to either side of an edge; where no threshold makes a
    difference (all probabilities are one number, say) that is 0.5.

    Args:
        labels: `(N,)` 1 for a merger, 0 for a non-merger.
        probabilities: `(N,)` probability of a merger.

    Raises ValueError on unfit shapes, labels or probabilities, and where a class is missing.
    """
    truth, chance = check_predictions(labels, probabilities)
    mergers, others = int(truth.sum()), int((~truth).sum())
    if not mergers or not others:
        raise ValueError(f"{mergers} mergers and {others} non-mergers, expected some of each")
    levels, place = np.unique(chance, return_inverse=True)
    # A threshold in (edges[i], edges[i + 1]] calls everything from levels[i] on a merger.
    edges = [0.0, *levels.tolist(), 1.0]
    called_mergers = mergers - np.cumsum(np.r_[0, np.bincount(place[truth], minlength=len(levels))])
    called_others = others - np.cumsum(np.r_[0, np.bincount(place[~truth], minlength=len(levels))])
    # Recall minus false-positive rate, times both classes' sizes: whole numbers compare without rounding.
    gain = (called_mergers * others - called_others * mergers).tolist()
    plateaus: list[tuple[int, float, float]] = []
    for worth, low, high in zip(gain, edges[:-1], edges[1:], strict=True):
        if math.nextafter(low, 1.0) > min(high, _BELOW_ONE):
            continue
        if plateaus and plateaus[-1][0] == worth:
            low = plateaus.pop()[1]
        plateaus.append((worth, low, high))
    best = max(worth for worth, _, _ in plateaus)
    _, low, high = min(
        (plateau for plateau in plateaus if plateau[0] == best),
        key=lambda plateau: (
            -round(plateau[2] - plateau[1], 12),
            round(abs((plateau[1] + plateau[2]) / 2 - 0.5), 12),
        ),
    )
    # Between two neighbouring floats the middle is rounded, perhaps onto the edge that decides otherwise.
    return max((low + high) / 2, math.nextafter(low, 1.0))
