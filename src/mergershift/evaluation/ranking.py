"""Agreement between a validator's ranking of candidates and the oracle's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats


def agreement(scores: ArrayLike, oracle: ArrayLike) -> float:
    """Return Spearman's rank correlation between the scores of a validator and of the oracle, `(C,)` each.

    Candidates for which one of the scores is not finite are excluded. The correlation is NaN if there is no ranking,
    because there are fewer than two candidates or all have the same score.

    Raises ValueError if the shapes differ.
    """
    # The import takes half a second, and no other part of the evaluation needs it.
    from scipy.stats import spearmanr

    own, true = _finite(scores, oracle)
    if len(own) < 2 or np.ptp(own) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(spearmanr(own, true).statistic)


def regret(scores: ArrayLike, oracle: ArrayLike) -> float:
    """Return the cost of choosing by a validator: the best oracle score minus that of the validator's choice.

    If several candidates have the same best score, the mean of their oracle scores is used. Candidates for which one
    of the scores is not finite are excluded; the regret is NaN if none is left.

    Args:
        scores: scores `(C,)` of a validator, one per candidate; higher is better.
        oracle: oracle scores `(C,)` of the same candidates; higher is better.

    Raises ValueError if the shapes differ.
    """
    own, true = _finite(scores, oracle)
    if not len(own):
        return float("nan")
    return float(true.max() - true[own == own.max()].mean())


def _finite(scores: ArrayLike, oracle: ArrayLike) -> tuple[Floats, Floats]:
    own, true = np.asarray(scores, dtype=np.float64), np.asarray(oracle, dtype=np.float64)
    if own.ndim != 1 or own.shape != true.shape:
        raise ValueError(f"scores {own.shape} and oracle scores {true.shape}, expected (C,) each")
    known = np.isfinite(own) & np.isfinite(true)
    return own[known], true[known]
