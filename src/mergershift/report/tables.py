"""The tables of the page: metrics by method, formatted with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mergershift.evaluation.conclusions import Conclusion, conclude
from mergershift.report.study_results import Contender, Setting, StudyResults, in_setting
from mergershift.report.values import NONE, Value, interval, number, p_value, percent

if TYPE_CHECKING:  # it imports torch, which the command line's summary does without
    from mergershift.report.feature_shift import Shift


@dataclass(frozen=True)
class MethodRow:
    """A row of a table, for one method in one setting."""

    contender: Contender
    values: Sequence[Value]
    chosen: bool = False
    """Whether the validator ranks the method first."""


@dataclass(frozen=True)
class WideRow:
    """A row of a table that has the filter sets of a direction side by side."""

    contender: Contender
    parts: Sequence[MethodRow]
    """The method's row in each filter set."""
    tag: str
    """Words beside the method's name if the validator ranks it first."""


def side_by_side(settings: Sequence[Setting], parts: Sequence[Sequence[MethodRow]]) -> list[WideRow]:
    """Put the rows of the same methods in several settings side by side; a dash where a setting has no row."""
    columns = max((len(row.values) for rows in parts for row in rows), default=0)
    names = dict.fromkeys(row.contender.name for rows in parts for row in rows)
    by_name = [{row.contender.name: row for row in rows} for rows in parts]
    wide = []
    for name in names:
        found = [rows.get(name) for rows in by_name]
        contender = next(row.contender for row in found if row is not None)
        empty = MethodRow(contender, [Value(NONE)] * columns)
        own = [row or empty for row in found]
        chosen = [setting.words for setting, row in zip(settings, own, strict=True) if row.chosen]
        tag = "chosen" if len(chosen) == len(own) else f"chosen: {', '.join(chosen)}" if chosen else ""
        wide.append(WideRow(contender, own, tag))
    return wide


def metric_value(
    gathered: StudyResults,
    setting: Setting,
    contender: Contender,
    role: str,
    metric: str,
    choice: str = "label_free",
) -> Value:
    """Format a metric of a method, each rendering once; a dash if it is missing."""
    row = gathered.metric(setting, contender, role, metric, choice)
    return Value(NONE) if row is None else interval(row)


TRANSFER_COLUMNS = (
    ("source", "balanced_accuracy"),
    ("target", "balanced_accuracy"),
    ("target", "auc"),
    ("target", "ece"),
)
"""Role and metric of each column of the transfer table."""


def transfer_rows(setting: Setting, gathered: StudyResults) -> list[MethodRow]:
    """Accuracy of each method on both domains, and AUC and calibration error on the target."""
    return [
        MethodRow(
            contender,
            [metric_value(gathered, setting, contender, role, metric) for role, metric in TRANSFER_COLUMNS],
            contender is setting.best,
        )
        for contender in setting.contenders
    ]


def choice_rows(setting: Setting, gathered: StudyResults) -> list[MethodRow]:
    """Validator's score and target accuracy of each method, the latter with the label-free and the oracle's epoch."""
    rows = []
    for contender in setting.label_free:
        values = [
            metric_value(gathered, setting, contender, "target", "balanced_accuracy", choice)
            for choice in ("label_free", "oracle")
        ]
        score = Value(number(setting.scores.get(contender.method.title, math.nan)))
        rows.append(MethodRow(contender, [score, *values], contender is setting.best))
    return rows


def comparison_rows(setting: Setting, gathered: StudyResults) -> list[MethodRow]:
    """Comparison of each method with source-only: difference, p-values, conclusion, and the shares won back.

    The shares are those of the loss and of what the reference trained on target labels gains. They are given for a
    supported gain only, since they mean nothing for a difference that may be none.
    """
    rows = []
    for contender in setting.contenders:
        row = gathered.compared(setting, contender)
        if row is None:
            continue
        conclusion = conclude(row)
        named = row.rename({"low": "difference_low", "high": "difference_high"})
        shares = [
            interval(row, name, share=True) if conclusion is Conclusion.GAIN else Value(NONE)
            for name in ("won_back", "recovered")
        ]
        values = [
            interval(named, "difference", signed=True),
            Value(p_value(row["p_holm"]), f"({p_value(row['p'])})" if row["p"] != row["p_holm"] else ""),
            Value(conclusion),
            *shares,
        ]
        rows.append(MethodRow(contender, values, contender is setting.best))
    return rows


def area_rows(setting: Setting, gathered: StudyResults) -> list[MethodRow]:
    """Difference of each method from source-only in AUC, and its shares of the loss and of the recoverable part."""
    rows = []
    for contender in setting.contenders:
        row = gathered.compared(setting, contender)
        if row is not None:
            values = [
                interval(row, "auc_difference", signed=True),
                *(interval(row, name, share=True) for name in ("auc_won_back", "auc_recovered")),
            ]
            rows.append(MethodRow(contender, values, contender is setting.best))
    return rows


def drop(setting: Setting, comparison: pd.DataFrame, metric: str = "drop") -> Value | None:
    """Drop of source-only between the domains, in accuracy or AUC; None if no method was compared with it."""
    own = in_setting(comparison, setting)
    return interval(own.iloc[0], metric) if len(own) else None


def confusion_rows(setting: Setting) -> list[MethodRow]:
    """Confusion counts on the target's test rows, as the mean over seeds, with their share of the class."""
    rows = []
    for contender in setting.contenders:
        counts = np.zeros((2, 2))
        for training in contender.trainings:
            target = training.target
            np.add.at(counts, (target["label"].to_numpy(), target["prediction"].to_numpy()), 1)
        counts /= len(contender.trainings)
        shares = counts / counts.sum(axis=1, keepdims=True)
        digits = 0 if len(contender.trainings) == 1 else 1
        values = [
            Value(number(counts[outcome], digits), f"({percent(shares[outcome])})")
            for outcome in ((1, 1), (1, 0), (0, 1), (0, 0))
        ]
        thresholds = [training.selection.threshold for training in contender.trainings]
        values.append(Value(_distinct(thresholds, 3)))
        rows.append(MethodRow(contender, values, contender is setting.best))
    return rows


def distance_rows(setting: Setting, shifts: Sequence[Shift]) -> list[MethodRow]:
    """Both distances between the domains in the features of each method, as mean and range over several seeds."""
    return [
        MethodRow(
            shift.contender, [_mean(shift.mmd, 3), _mean(shift.proxy_a, 2)], shift.contender is setting.best
        )
        for shift in shifts
    ]


def _mean(values: Sequence[float], digits: int) -> Value:
    bounds = f"{number(min(values), digits)} to {number(max(values), digits)}" if len(values) > 1 else ""
    return Value(number(float(np.mean(values)), digits), bounds)


def _distinct(values: Sequence[float], digits: int) -> str:
    texts = list(dict.fromkeys(number(value, digits) for value in values))
    return ", ".join(texts)
