"""Methods beside a baseline on the same test galaxies: differences, and how much of a drop is won back."""

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
    """What a baseline loses between the domains, and what each method wins back of it."""

    drop: Interval
    shares: pd.DataFrame
    """One row per method: method, share, low, high."""


def compare(
    methods: Mapping[str, pd.DataFrame], baseline: str, resamples: int = RESAMPLES, rng_seed: int = 0
) -> pd.DataFrame:
    """Set each method's balanced accuracy on the target's test against the baseline's, image by image.

    The difference is that of the means over the seeds. Its 95 % interval draws galaxies (within their class,
    all renderings together) and seeds at once, the same ones for method and baseline, as `bootstrap` does; with
    two or three seeds it understates how much trainings differ.

    The p-value (`sign_flip_p`, two-sided) flips what each galaxy adds to the difference: how many more of its
    renderings the method calls rightly, mean over the seeds, divided by twice the images of the class. It asks
    whether these trainings would differ on other galaxies, not whether other trainings would: that part is in
    the interval alone. `p_holm` is corrected for the number of methods (`holm`).

    Args:
        methods: name -> predictions with the columns `paired.NEEDED`. The target's test is used, every
            rendering once (`unique_renderings`), and what the column `prediction` decided.
        baseline: name of the method that the others are compared with.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling and of the flips.

    Columns: method, difference, low, high, p, p_holm, images, galaxies, seeds; one row per method but the
        baseline, in their order. Bounds are NaN where a class has a single galaxy.
    Raises UserError on an unknown baseline, a table without a needed column, the target's test or a class, and
        where methods or seeds were not tested on the same images, or methods not with the same seeds.
    """
    decided = read_decisions(methods, baseline, TARGET)
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

    drop = balanced accuracy of the baseline on the source's test - on the target's; share = (method -
    baseline, both on the target's test) / drop, so 0 is no better than the baseline and 1 as good as if there
    were no shift. Both tests show the same galaxies, which are drawn together, and seeds with them (see
    `compare`); replicates without a drop, at most one in forty, are left out of the shares' intervals. Shares
    are NaN unless the drop's interval lies above 0: a share of nothing means nothing.

    Args:
        methods: name -> predictions as in `compare`; the baseline's must hold both roles.
        baseline: name of the method whose drop it is.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling.

    Raises UserError as `compare` does, and where the baseline's two tests do not show the same galaxies.
    """
    target = read_decisions(methods, baseline, TARGET)
    source = read_decisions({baseline: methods[baseline]}, baseline, SOURCE)
    for what in ("galaxies", "classes", "seeds"):
        if not np.array_equal(getattr(source, what), getattr(target, what)):
            raise UserError(
                f"{baseline}: its source's and its target's test differ in {what}.\n"
                "Expected the same galaxies in both domains: use one split."
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
    """Return `(R, M)` balanced accuracies of each of `tests` under the same draws of their common galaxies."""
    first = tests[0]
    if one_galaxy_only(first.classes):
        return [np.full((resamples, len(each.methods)), np.nan) for each in tests]
    count = len(first.seeds)
    parts: list[list[Floats]] = [[] for _ in tests]
    for weights, drawn in draws(first.classes, count, int(first.images.sum()), resamples, rng_seed):
        seed_weights = (drawn[:, :, None] == np.arange(count)).mean(axis=1)
        for each, part in zip(tests, parts, strict=True):
            part.append(np.einsum("rms,rs->rm", each.balanced_accuracy(weights), seed_weights))
    return [np.concatenate(part) for part in parts]
