"""Is a difference between paired galaxies more than chance, and still so when many methods were tried?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import Floats

FLIPS = 9999
# 32 MB of signs at a time.
_SIGNS_AT_ONCE = 4_000_000


def sign_flip_p(contributions: ArrayLike, flips: int = FLIPS, rng_seed: int = 0) -> float:
    """Compute the two-sided p-value of a sum of paired differences under random signs.

    If two methods are equally good, each galaxy's difference is as likely to be the other way round. p is the
    share of sign patterns whose sum is at least as far from 0 as the one seen: over all patterns where there
    are no more than `flips`, else over `flips` random ones and the one seen, (1 + hits) / (1 + flips)
    (Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39). Differences of 0 have no sign and take no
    part; p is 1 where all are 0.

    Args:
        contributions: `(G,)` what each galaxy adds to the difference.
        flips: number of random patterns.
        rng_seed: seed of the patterns.

    Raises ValueError on contributions that are no vector of finite numbers.
    """
    differences = np.asarray(contributions, dtype=np.float64)
    if differences.ndim != 1 or not np.isfinite(differences).all():
        raise ValueError(f"contributions of shape {differences.shape}, expected (G,) finite numbers")
    differences = differences[differences != 0]
    # Patterns that give the same sum must not differ by how it was rounded.
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
    """Correct p-values `(M,)` for trying M methods, by Holm's step-down (Holm 1979, Scand. J. Statist. 6:65).

    The i-th smallest is multiplied by M - i + 1, made no smaller than the ones before it, and cut at 1: whoever
    rejects at 5 % then errs in any of the M with at most 5 %, however the methods hang together.

    Raises ValueError on values that are no numbers from 0 to 1.
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
