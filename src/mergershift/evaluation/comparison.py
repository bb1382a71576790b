"""Comparison of methods with a baseline on the same test galaxies, and how much of a drop they win back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mergershift.core.errors import UserError
from mergershift.evaluation.estimates import Estimate, ratio
from mergershift.evaluation.paired import read_paired
from mergershift.evaluation.predictions import ROLES
from mergershift.evaluation.resampling import Interval
from mergershift.evaluation.significance import holm

SOURCE, TARGET = ROLES


class WonBack(NamedTuple):
    """The baseline's drops between the domains, and the shares of them that each method wins back."""

    drop: Interval
    """In balanced accuracy."""
    auc_drop: Interval
    """In the area under the ROC curve."""
    p: float
    """p-value of the drop in balanced accuracy."""
    shares: pd.DataFrame
    """Table with one row per method: its column method, and won_back, auc_won_back, recovered and auc_recovered, each
    with its bounds in columns that end in _low and _high."""


def compare(methods: Mapping[str, pd.DataFrame], baseline: str, role: str = TARGET) -> pd.DataFrame:
    """Compare each method's scores on a domain's test with the baseline's, paired by image.

    A difference is that between the means over the seeds. Its standard error holds the scatter between galaxies, with
    all of their renderings and within their class, and between seeds, of the difference itself. Interval and p-value
    are those of Welch's t test with these variances (`Estimate`), so that the interval excludes 0 where p is below
    5 %. With one seed, both are about these trainings, on other galaxies; not about other trainings.

    Only differences in balanced accuracy have p-values, and `p_holm` is corrected for the number of methods (`holm`).

    Args:
        methods: predictions by name of the method, with the columns `paired.NEEDED`. Only the test of `role` is used,
            with every rendering once (`unique_renderings`), and the decisions in the column `prediction`.
        baseline: name of the method with which the others are compared.
        role: whose test it is, the target's or the source's.

    Returns a table with the columns method, difference, low, high, p, p_holm, auc_difference, auc_difference_low,
        auc_difference_high, images, galaxies, seeds, and one row per method except the baseline, in the given order.
        Bounds and p are NaN if a class has a single galaxy.
    Raises UserError if the baseline is unknown, if a table lacks a needed column, the role's test or a class, if
        methods or seeds were not tested on the same images, or if methods do not have the same seeds.
    """
    paired = read_paired(methods, baseline, role)
    rows: list[dict[str, Any]] = []
    for name in methods:
        if name == baseline:
            continue
        difference = paired.accuracy[name] - paired.accuracy[baseline]
        found = difference.interval
        rows.append(
            {
                "method": name,
                "difference": found["value"],
                "low": found["low"],
                "high": found["high"],
                "p": difference.p,
                **_named("auc_difference", (paired.area[name] - paired.area[baseline]).interval),
            }
        )
    columns = ["method", "difference", "low", "high", "p", *_names("auc_difference")]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(columns.index("p") + 1, "p_holm", holm(table["p"].to_numpy(dtype=np.float64)))
    return table.assign(images=paired.images, galaxies=len(paired.galaxies), seeds=len(paired.seeds))


def won_back(
    methods: Mapping[str, pd.DataFrame], baseline: str, reference: pd.DataFrame | None = None
) -> WonBack:
    """Compute how much of the baseline's drop from the source's to the target's test each method wins back.

    The drop is the score of the baseline on the source's test minus that on the target's. The share `won_back` is the
    difference between method and baseline on the target's test, divided by the drop: 0 if the method is no better
    than the baseline, and 1 if it performs as though there were no shift. That may be out of reach, since noise
    destroys information; so `recovered` is the same difference, divided by that between a reference and the baseline.

    Scores are the balanced accuracy and, in columns with the prefix auc_, the area under the ROC curve. Both tests
    show the same galaxies, so that all differences are paired; intervals are those of `ratio`. Shares are NaN unless
    the interval of what they are shares of is above 0, because a share of nothing is undefined.

    Args:
        methods: predictions by name of the method, as in `compare`; the baseline's must contain both roles.
        baseline: name of the method whose drop is computed.
        reference: predictions of a network that was trained with the target's labels; without them, `recovered` is NaN.

    Raises UserError as `compare` does, and if the baseline's two tests do not show the same galaxies.
    """
    others = {} if reference is None else {"": reference}
    target = read_paired({**methods, **others}, baseline, TARGET)
    source = read_paired({baseline: methods[baseline]}, baseline, SOURCE)
    for what in ("galaxies", "classes", "seeds"):
        if not np.array_equal(getattr(source, what), getattr(target, what)):
            raise UserError(
                f"{baseline}: the tests of source and target differ in {what}, expected the same galaxies in both.\n"
                "Use the same split for both domains."
            )
    drops: list[Estimate] = []
    shares: dict[str, dict[str, Any]] = {name: {"method": name} for name in methods if name != baseline}
    for prefix, before, after in (
        ("", source.accuracy, target.accuracy),
        ("auc_", source.area, target.area),
    ):
        drop = before[baseline] - after[baseline]
        drops.append(drop)
        for name, row in shares.items():
            gain = after[name] - after[baseline]
            row |= _named(f"{prefix}won_back", ratio(gain, drop))
            recoverable = drop * np.nan if reference is None else after[""] - after[baseline]
            row |= _named(f"{prefix}recovered", ratio(gain, recoverable))
    table = pd.DataFrame(list(shares.values()), columns=["method", *_SHARES])
    return WonBack(drops[0].interval, drops[1].interval, drops[0].p, table)


def no_drop(methods: Iterable[str]) -> WonBack:
    """Return what is known of drop and shares where the domains were tested on different galaxies: nothing."""
    unknown = Interval(value=np.nan, low=np.nan, high=np.nan)
    rows = [{"method": name, **dict.fromkeys(_SHARES, np.nan)} for name in methods]
    return WonBack(unknown, unknown, np.nan, pd.DataFrame(rows, columns=["method", *_SHARES]))


def _names(name: str) -> tuple[str, str, str]:
    """Names of the columns of a value and the bounds of its interval."""
    return name, f"{name}_low", f"{name}_high"


_SHARES = [
    name for kind in ("won_back", "recovered") for prefix in ("", "auc_") for name in _names(prefix + kind)
]


def _named(name: str, interval: Interval) -> dict[str, float]:
    return dict(zip(_names(name), (interval["value"], interval["low"], interval["high"]), strict=True))
