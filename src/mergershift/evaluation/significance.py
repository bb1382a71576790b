"""Correction of p-values for the number of hypotheses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats


def holm(p_values: ArrayLike) -> Floats:
    """Correct the p-values `(M,)` of M hypotheses by Holm's step-down procedure (Holm 1979, Scand. J. Statist. 6:65).

    The i-th smallest p-value is multiplied by M - i + 1, raised to at least the previous corrected one, and limited
    to 1. With rejections at 5 %, the probability of any false rejection among them is then at most 5 %, however they
    are correlated. A p-value that is NaN, of a difference that cannot be tested, stays so and does not count.

    Raises ValueError unless all values are numbers from 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not (np.isnan(p) | ((p >= 0) & (p <= 1))).all():
        raise ValueError(f"p-values are {p}, expected (M,) numbers from 0 to 1")
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return corrected
