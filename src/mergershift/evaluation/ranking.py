"""Agreement between a validator's ranking of candidates and the oracle's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats


def agreement(scores: ArrayLike, oracle: ArrayLike) -> float:
    """Return Spearman's rank correlation between the scores of a validator and of the oracle, `(C,)` each.

    Candidates for which one of the scores is not finite are excluded. The correlation is NaN if there is no ranking,
    because there are fewer than two candidates or all have the same score.

    Raises ValueError if the shapes differ.
    """
    own, true = _finite(scores, oracle)
    if len(own) < 2 or np.ptp(own) == 0 or np.ptp(true) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(own), _ranks(true))[0, 1])


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


def rank_ensemble(scores: Sequence[ArrayLike]) -> Floats:
    """Return the sum of the ranks `(C,)` that several validators give the same candidates; higher is better.

    Equal scores share the mean of their ranks, and a candidate with a score that is not finite gets NaN. Ranks depend
    on the candidates that are compared, so that the sum orders a set but is no score of a network alone.

    Raises ValueError if the scores `(C,)` of the validators differ in shape.
    """
    given = [np.asarray(values, dtype=np.float64) for values in scores]
    if not given or len({values.shape for values in given}) != 1 or given[0].ndim != 1:
        raise ValueError(f"scores of shapes {[values.shape for values in given]}, expected (C,) each")
    table = np.stack(given)
    finite = np.isfinite(table).all(axis=0)
    ranks = np.full(table.shape[1], np.nan)
    if finite.any():
        ranks[finite] = np.sum([_ranks(values) for values in table[:, finite]], axis=0)
    return ranks


def _ranks(values: Floats) -> Floats:
    """Return the ranks from 1; equal values share the mean of theirs.

    SciPy's function needs `scipy.stats`, whose import takes longer than all rankings of a study.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _finite(scores: ArrayLike, oracle: ArrayLike) -> tuple[Floats, Floats]:
    own, true = np.asarray(scores, dtype=np.float64), np.asarray(oracle, dtype=np.float64)
    if own.ndim != 1 or own.shape != true.shape:
        raise ValueError(f"scores {own.shape} and oracle scores {true.shape}, expected (C,) each")
    known = np.isfinite(own) & np.isfinite(true)
    return own[known], true[known]
