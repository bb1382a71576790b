"""Significance of differences between paired galaxies, and its correction for the number of methods tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats

FLIPS = 9999
# This limits the signs in memory to 32 MB.
_SIGNS_AT_ONCE = 4_000_000


def sign_flip_p(contributions: ArrayLike, flips: int = FLIPS, rng_seed: int = 0) -> float:
    """Compute the two-sided p-value of a sum of paired differences under random signs.

    If two methods are equally good, each galaxy's difference is equally likely to have either sign. The p-value is
    the fraction of sign patterns whose sum is at least as far from 0 as the observed one. It is taken over all
    patterns if there are no more than `flips`; otherwise over `flips` random patterns and the observed one,
    (1 + hits) / (1 + flips) (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39). Differences of 0 have no sign
    and are ignored; if all are 0, p is 1.

    Args:
        contributions: contribution of each galaxy to the difference, `(G,)`.
        flips: number of random patterns.
        rng_seed: seed of the patterns.

    Raises ValueError unless the contributions are a vector of finite numbers.
    """
    differences = np.asarray(contributions, dtype=np.float64)
    if differences.ndim != 1 or not np.isfinite(differences).all():
        raise ValueError(f"contributions of shape {differences.shape}, expected (G,) finite numbers")
    differences = differences[differences != 0]
    # The tolerance makes patterns with the same exact sum count alike, whatever their rounding errors.
    far = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    count = len(differences)
    if 2**count <= flips:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs(_flipped(differences, patterns)) >= far))
    rng = np.random.default_rng(rng_seed)
    step = max(1, _SIGNS_AT_ONCE // count)
    hits = 0
    for start in range(0, flips, step):
        patterns = rng.integers(2, size=(min(step, flips - start), count), dtype=np.int8)
        hits += int(np.count_nonzero(np.abs(_flipped(differences, patterns)) >= far))
    return (1 + hits) / (1 + flips)


def holm(p_values: ArrayLike) -> Floats:
    """Correct the p-values `(M,)` of M methods by Holm's step-down procedure (Holm 1979, Scand. J. Statist. 6:65).

    The i-th smallest p-value is multiplied by M - i + 1, raised to at least the previous corrected one, and limited
    to 1. With rejections at 5 %, the probability of any false rejection among the M methods is then at most 5 %,
    however the methods are correlated.

    Raises ValueError unless all values are numbers from 0 to 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values are {p}, expected (M,) numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def _flipped(differences: Floats, patterns: np.ndarray) -> Floats:
    return differences.sum() - 2 * (patterns.astype(np.float64) @ differences)
