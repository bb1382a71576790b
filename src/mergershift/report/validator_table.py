"""The table of label-free validators: how well each ranks networks, and what following it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mergershift.report.study_results import Setting, in_setting
from mergershift.report.style import spelt
from mergershift.report.values import NONE, Value, number

FEWEST_RANKED = 10
"""Number of networks below which a rank correlation is not given: at 10, its 95 % interval spans more than 1."""
COLUMNS = ("Agreement, epochs", "Regret, epochs", "Agreement, networks", "Regret, networks")


@dataclass(frozen=True)
class ValidatorRow:
    """A row of the table of validators in one setting."""

    name: str
    named: bool
    """Whether the validator was named beforehand to compare methods."""
    values: Sequence[Value]


def validator_rows(setting: Setting, validators: pd.DataFrame) -> list[ValidatorRow]:
    """Agreement of each validator's ranking with the oracle's, and its regret: epochs of a training, all networks.

    An agreement among fewer than `FEWEST_RANKED` networks is not given, because it would be noise.
    """
    own = in_setting(validators, setting)
    if own.empty:
        return []
    counts = ranked_networks(setting)
    rows = []
    for name, part in own.groupby("validator", sort=False):
        values = []
        for among, count in counts.items():
            matching = part[part["among"] == among]
            if matching.empty:
                values += [Value(NONE), Value(NONE)]
                continue
            row = matching.iloc[0]
            agreement = _agreement(row, count) if count >= FEWEST_RANKED else Value(NONE)
            values += [agreement, Value(number(row["regret"]))]
        rows.append(ValidatorRow(spelt(str(name)), name == setting.validator, values))
    return rows


def shown_columns(parts: Sequence[Sequence[ValidatorRow]]) -> dict[int, str]:
    """Index and name of each column that has a value in any of the settings."""
    rows = [row for part in parts for row in part]
    return {
        index: name
        for index, name in enumerate(COLUMNS)
        if any(row.values[index].text != NONE for row in rows)
    }


def ranked_networks(setting: Setting) -> dict[str, int]:
    """Smallest number of networks that a validator ranks: epochs of a training, and all networks of a seed."""
    kept = [
        [len(training.validators) for training in contender.trainings] for contender in setting.label_free
    ]
    if not kept:
        return {"epochs": 0, "networks": 0}
    return {
        "epochs": min(min(counts) for counts in kept),
        "networks": min(sum(counts) for counts in zip(*kept, strict=False)),
    }


def _agreement(row: pd.Series[Any], count: int) -> Value:
    """Mean rank correlation with its scatter over rankings or, of a single ranking of `count`, its 95 % interval."""
    agreement, scatter = float(row["agreement"]), float(row["agreement_std"])
    if math.isfinite(scatter):
        return Value(number(agreement, 2), f"± {number(scatter, 2)}")
    if not abs(agreement) < 1:
        return Value(number(agreement, 2))
    # Fisher's transformation with the variance for ranks of Bonett & Wright (2000).
    half = 1.96 * math.sqrt((1 + agreement**2 / 2) / (count - 3))
    low, high = (number(math.tanh(math.atanh(agreement) + side * half), 2) for side in (-1, 1))
    return Value(number(agreement, 2), f"[{low}, {high}]")
