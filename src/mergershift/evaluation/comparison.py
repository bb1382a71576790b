"""Comparison of methods with a baseline on the same test galaxies, and how much of a drop they win back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mergershift.core.errors import UserError
from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.paired import Decisions, read_decisions
from mergershift.evaluation.predictions import ROLES
from mergershift.evaluation.resampling import (
    RESAMPLES,
    Interval,
    draws,
    one_galaxy_only,
    percentile_interval,
)
from mergershift.evaluation.significance import holm, sign_flip_p

SOURCE, TARGET = ROLES


class WonBack(NamedTuple):
    """The baseline's drop between the domains, and the share of it that each method wins back."""

    drop: Interval
    shares: pd.DataFrame
    """Table with one row per method and the columns method, share, low, high."""


def compare(
    methods: Mapping[str, pd.DataFrame],
    baseline: str,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
    role: str = TARGET,
) -> pd.DataFrame:
    """Compare each method's balanced accuracy on a domain's test with the baseline's, paired by image.

    The difference is that between the means over the seeds. For its 95 % interval, galaxies (within their class,
    with all their renderings) and seeds are drawn jointly, with the same draws for method and baseline, as in
    `bootstrap`. With two or three seeds, it underestimates the variation between trainings.

    The two-sided p-value (`sign_flip_p`) flips the sign of each galaxy's contribution to the difference. This is
    the number of its renderings that only the method classifies correctly minus the number that only the baseline
    does, averaged over the seeds and divided by twice the number of images of the class. The p-value tests whether
    these trainings would differ on other galaxies, not whether other trainings would differ; only the interval
    covers the latter. `p_holm` is corrected for the number of methods (`holm`).

    Args:
        methods: predictions by name of the method, with the columns `paired.NEEDED`. Only the test of `role` is used,
            with every rendering once (`unique_renderings`), and the decisions in the column `prediction`.
        baseline: name of the method with which the others are compared.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling and of the sign flips.
        role: whose test it is, the target's or the source's.

    Returns a table with the columns method, difference, low, high, p, p_holm, images, galaxies, seeds, and one row
        per method except the baseline, in the given order. Bounds are NaN if a class has a single galaxy.
    Raises UserError if the baseline is unknown, if a table lacks a needed column, the role's test or a class, if
        methods or seeds were not tested on the same images, or if methods do not have the same seeds.
    """
    decided = read_decisions(methods, baseline, role)
    place = decided.methods.index(baseline)
    values = decided.mean_over_seeds()
    replicates = _replicates([decided], resamples, rng_seed)[0]
    by_galaxy = decided.correct.mean(axis=1)
    per_class = np.bincount(decided.classes, weights=decided.images)[decided.classes]
    rows = []
    for method, name in enumerate(decided.methods):
        if name == baseline:
            continue
        found = percentile_interval(
            float(values[method] - values[place]), replicates[:, method] - replicates[:, place]
        )
        contributions = (by_galaxy[method] - by_galaxy[place]) / (2 * per_class)
        rows.append(
            {
                "method": name,
                "difference": found["value"],
                "low": found["low"],
                "high": found["high"],
                "p": sign_flip_p(contributions, rng_seed=rng_seed),
            }
        )
    table = pd.DataFrame(rows, columns=["method", "difference", "low", "high", "p"])
    return table.assign(
        p_holm=holm(table["p"].to_numpy(dtype=np.float64)),
        images=int(decided.images.sum()),
        galaxies=len(decided.galaxies),
        seeds=len(decided.seeds),
    )


def won_back(
    methods: Mapping[str, pd.DataFrame], baseline: str, resamples: int = RESAMPLES, rng_seed: int = 0
) -> WonBack:
    """Compute how much of the baseline's drop from the source's to the target's test each method wins back.

    The drop is the balanced accuracy of the baseline on the source's test minus that on the target's. The share is
    the difference between method and baseline on the target's test, divided by the drop: 0 if the method is no
    better than the baseline, and 1 if it performs as though there were no shift. Both tests show the same galaxies,
    which are drawn jointly, together with the seeds (see `compare`). Replicates without a drop, at most one in
    forty, are excluded from the shares' intervals. Shares are NaN unless the drop's interval is above 0, because a
    share of no drop is undefined.

    Args:
        methods: predictions by name of the method, as in `compare`; the baseline's must contain both roles.
        baseline: name of the method whose drop is computed.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling.

    Raises UserError as `compare` does, and if the baseline's two tests do not show the same galaxies.
    """
    target = read_decisions(methods, baseline, TARGET)
    source = read_decisions({baseline: methods[baseline]}, baseline, SOURCE)
    for what in ("galaxies", "classes", "seeds"):
        if not np.array_equal(getattr(source, what), getattr(target, what)):
            raise UserError(
                f"{baseline}: the tests of source and target differ in {what}, expected the same galaxies in both.\n"
                "Use the same split for both domains."
            )
    place = target.methods.index(baseline)
    values = target.mean_over_seeds()
    of_target, of_source = _replicates([target, source], resamples, rng_seed)
    drops = of_source[:, 0] - of_target[:, place]
    drop = percentile_interval(float(source.mean_over_seeds()[0] - values[place]), drops)
    rows = []
    for method, name in enumerate(target.methods):
        if name == baseline:
            continue
        share = Interval(value=np.nan, low=np.nan, high=np.nan)
        if drop["value"] > 0 and drop["low"] > 0:
            gains = of_target[:, method] - of_target[:, place]
            shares = np.divide(gains, drops, out=np.full(len(drops), np.nan), where=drops > 0)
            share = percentile_interval(float((values[method] - values[place]) / drop["value"]), shares)
        rows.append({"method": name, "share": share["value"], "low": share["low"], "high": share["high"]})
    return WonBack(drop, pd.DataFrame(rows, columns=["method", "share", "low", "high"]))


def _replicates(tests: list[Decisions], resamples: int, rng_seed: int) -> list[Floats]:
    """Return the balanced accuracies `(R, M)` in each test under the same draws of their common galaxies."""
    first = tests[0]
    if one_galaxy_only(first.classes):
        return [np.full((resamples, len(test.methods)), np.nan) for test in tests]
    count = len(first.seeds)
    parts: list[list[Floats]] = [[] for _ in tests]
    for weights, drawn in draws(first.classes, count, int(first.images.sum()), resamples, rng_seed):
        seed_weights = (drawn[:, :, None] == np.arange(count)).mean(axis=1)
        for test, part in zip(tests, parts, strict=True):
            part.append(np.einsum("rms,rs->rm", test.balanced_accuracy(weights), seed_weights))
    return [np.concatenate(part) for part in parts]
