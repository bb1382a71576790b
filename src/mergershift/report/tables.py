"""The tables of the page: metrics by method, formatted with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mergershift.report.feature_shift import Shift
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import spelt

NONE = "–"


class Value(NamedTuple):
    """A number and its interval as text; `bounds` is empty if there is no interval."""

    text: str
    bounds: str = ""


@dataclass(frozen=True)
class MethodRow:
    """A row of a table, for one method in one setting."""

    contender: Contender
    values: Sequence[Value]
    best: bool = False


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Format a number with a true minus sign; a dash if it is undefined."""
    if not math.isfinite(value):
        return NONE
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"−{text}" if value < 0 else f"+{text}" if signed else text


def percent(value: float) -> str:
    """Format a share in per cent; a dash if it is undefined."""
    return f"{number(100 * value, 0)} %" if math.isfinite(value) else NONE


def p_value(value: float) -> str:
    """Format a p-value with three decimals; a dash if it is undefined."""
    if not math.isfinite(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(row: pd.Series[Any], name: str = "", *, signed: bool = False, share: bool = False) -> Value:
    """Format the columns ``name, name_low, name_high`` of a row, or ``value, low, high`` without a name."""
    columns = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    numbers = [float(row[column]) for column in columns]
    value, low, high = (percent(entry) if share else number(entry, signed=signed) for entry in numbers)
    return Value(value, f"[{low}, {high}]" if NONE not in (low, high) else "")


def in_setting(table: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Select the rows of a setting from a summary table."""
    if table.empty:
        return table
    names = {"filters": setting.filters, "source": setting.source, "target": setting.target}
    return table[np.logical_and.reduce([table[name] == value for name, value in names.items()])]


def of_method(table: pd.DataFrame, contender: Contender) -> pd.DataFrame:
    """Select the rows of a method."""
    if table.empty:
        return table
    names = contender.method.model_dump()
    return table[np.logical_and.reduce([table[name] == value for name, value in names.items()])]


def metric_value(
    transfer: pd.DataFrame, contender: Contender, role: str, metric: str, choice: str = "label_free"
) -> Value:
    """Format a metric of a method, from a setting's rows of transfer.csv; a dash if it is missing."""
    own = of_method(transfer, contender)
    own = own[
        (own["role"] == role)
        & (own["metric"] == metric)
        & (own["choice"] == choice)
        & (own["rows"] == "unique")
    ]
    return interval(own.iloc[0]) if len(own) else Value(NONE)


TRANSFER_COLUMNS = (
    ("source", "balanced_accuracy"),
    ("target", "balanced_accuracy"),
    ("target", "auc"),
    ("target", "ece"),
)
"""Role and metric of each column of the transfer table."""


def transfer_rows(setting: Setting, transfer: pd.DataFrame) -> list[MethodRow]:
    """Accuracy of each method on both domains, and AUC and calibration error on the target."""
    own = in_setting(transfer, setting)
    return [
        MethodRow(
            contender,
            [metric_value(own, contender, role, metric) for role, metric in TRANSFER_COLUMNS],
            contender is setting.best,
        )
        for contender in setting.contenders
    ]


def choice_rows(setting: Setting, transfer: pd.DataFrame) -> list[MethodRow]:
    """Validator's score and target accuracy of each method, the latter with the label-free and the oracle's epoch."""
    own = in_setting(transfer, setting)
    rows = []
    for contender in setting.label_free:
        values = [
            metric_value(own, contender, "target", "balanced_accuracy", choice)
            for choice in ("label_free", "oracle")
        ]
        score = Value(number(setting.scores.get(contender.method.title, math.nan)))
        rows.append(MethodRow(contender, [score, *values], contender is setting.best))
    return rows


def comparison_rows(setting: Setting, comparison: pd.DataFrame) -> list[MethodRow]:
    """Comparison of each method with source-only: difference, p-values, and share of the drop won back."""
    own = in_setting(comparison, setting)
    rows = []
    for contender in setting.contenders:
        matching = of_method(own, contender)
        if matching.empty:
            continue
        row = matching.iloc[0].rename({"low": "difference_low", "high": "difference_high"})
        values = [
            interval(row, "difference", signed=True),
            Value(p_value(row["p"])),
            Value(p_value(row["p_holm"])),
            interval(row, "won_back", share=True),
        ]
        rows.append(MethodRow(contender, values, contender is setting.best))
    return rows


def drop(setting: Setting, comparison: pd.DataFrame) -> Value | None:
    """Drop in accuracy of source-only between the domains; None if no method was compared with it."""
    own = in_setting(comparison, setting)
    return interval(own.iloc[0], "drop") if len(own) else None


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
        values.append(Value(_distinct(thresholds, 2)))
        rows.append(MethodRow(contender, values, contender is setting.best))
    return rows


def validator_rows(setting: Setting, validators: pd.DataFrame) -> list[dict[str, Any]]:
    """Agreement of each validator's ranking with the oracle's, among the epochs of a training and all networks."""
    own = in_setting(validators, setting)
    if own.empty:
        return []
    rows = []
    for name, part in own.groupby("validator", sort=False):
        values = []
        for among in ("epochs", "networks"):
            matching = part[part["among"] == among]
            if matching.empty:
                values += [Value(NONE), Value(NONE)]
                continue
            row = matching.iloc[0]
            scatter = f"± {number(row['agreement_std'], 2)}" if math.isfinite(row["agreement_std"]) else ""
            values += [Value(number(row["agreement"], 2), scatter), Value(number(row["regret"]))]
        rows.append({"name": spelt(str(name)), "named": name == setting.validator, "values": values})
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
