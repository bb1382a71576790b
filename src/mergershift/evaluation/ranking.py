"""How well a validator's ranking of candidates agrees with the oracle's."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats


def agreement(scores: ArrayLike, oracle: ArrayLike) -> float:
    """Return Spearman's rank correlation between a validator's scores and the oracle's figures, `(C,)` each.

    Candidates without a finite score or figure are left out. NaN where one of the two ranks nothing: fewer than
    two candidates, or all alike.

    Raises ValueError where shapes differ.
    """
    # Half a second of importing, which other evaluation does without.
    from scipy.stats import spearmanr

    own, true = _finite(scores, oracle)
    if len(own) < 2 or np.ptp(own) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(spearmanr(own, true).statistic)


def regret(scores: ArrayLike, oracle: ArrayLike) -> float:
    """Return what choosing by a validator costs: the oracle's best figure minus that of the validator's choice.

    Of candidates with the same best score any may be chosen: the mean of their figures counts. Candidates
    without a finite score or figure are left out; NaN where none is left.

    Args:
        scores: `(C,)` of a validator, one per candidate, higher is better.
        oracle: `(C,)` figures of the same candidates, higher is better.

    Raises ValueError where shapes differ.
    """
    own, true = _finite(scores, oracle)
    if not len(own):
        return float("nan")
    return float(true.max() - true[own == own.max()].mean())


def _finite(scores: ArrayLike, oracle: ArrayLike) -> tuple[Floats, Floats]:
    own, true = np.asarray(scores, dtype=np.float64), np.asarray(oracle, dtype=np.float64)
    if own.ndim != 1 or own.shape != true.shape:
        raise ValueError(f"scores {own.shape} and oracle's figures {true.shape}, expected (C,) each")
    known = np.isfinite(own) & np.isfinite(true)
    return own[known], true[known]
