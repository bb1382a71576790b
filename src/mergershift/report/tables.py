"""The tables of the page: numbers laid out by method, as text with their intervals."""

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
    """A figure and its interval as text; no bounds where there are none."""

    text: str
    bounds: str = ""


@dataclass(frozen=True)
class MethodRow:
    """A line of a table, of one method in one setting."""

    contender: Contender
    values: Sequence[Value]
    best: bool = False


def number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """A number with a true minus sign; a dash where it is undefined."""
    if not math.isfinite(value):
        return NONE
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return f"−{text}" if value < 0 else f"+{text}" if signed else text


def percent(value: float) -> str:
    """A share in per cent; a dash where it is undefined."""
    return f"{number(100 * value, 0)} %" if math.isfinite(value) else NONE


def p_value(value: float) -> str:
    """A p-value, to three digits after the point."""
    if not math.isfinite(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(row: pd.Series[Any], name: str = "", *, signed: bool = False, share: bool = False) -> Value:
    """The figure in columns ``name, name_low, name_high``, or ``value, low, high`` without a name."""
    columns = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    figures = [float(row[column]) for column in columns]
    value, low, high = (percent(each) if share else number(each, signed=signed) for each in figures)
    return Value(value, f"[{low}, {high}]" if NONE not in (low, high) else "")


def in_setting(table: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The rows of a summary table that are a setting's."""
    if table.empty:
        return table
    names = {"filters": setting.filters, "source": setting.source, "target": setting.target}
    return table[np.logical_and.reduce([table[name] == value for name, value in names.items()])]


def of_method(table: pd.DataFrame, each: Contender) -> pd.DataFrame:
    """The rows that are a method's."""
    if table.empty:
        return table
    names = each.method.model_dump()
    return table[np.logical_and.reduce([table[name] == value for name, value in names.items()])]


def figure(
    transfer: pd.DataFrame, each: Contender, role: str, metric: str, choice: str = "label_free"
) -> Value:
    """One figure of transfer.csv, of a setting's rows; a dash where there is none."""
    own = of_method(transfer, each)
    own = own[
        (own["role"] == role)
        & (own["metric"] == metric)
        & (own["choice"] == choice)
        & (own["rows"] == "unique")
    ]
    return interval(own.iloc[0]) if len(own) else Value(NONE)


SHOWN = (
    ("source", "balanced_accuracy"),
    ("target", "balanced_accuracy"),
    ("target", "auc"),
    ("target", "ece"),
)
"""Columns of the transfer table."""


def transfer_rows(setting: Setting, transfer: pd.DataFrame) -> list[MethodRow]:
    """Each method's accuracy on both domains, and the target's AUC and calibration error."""
    own = in_setting(transfer, setting)
    return [
        MethodRow(each, [figure(own, each, role, metric) for role, metric in SHOWN], each is setting.best)
        for each in setting.contenders
    ]


def choice_rows(setting: Setting, transfer: pd.DataFrame) -> list[MethodRow]:
    """Target accuracy under the label-free choice of the epoch and under the oracle's, and their difference."""
    own = in_setting(transfer, setting)
    rows = []
    for each in setting.label_free:
        values = [
            figure(own, each, "target", "balanced_accuracy", choice) for choice in ("label_free", "oracle")
        ]
        score = Value(number(setting.scores.get(each.method.title, math.nan)))
        rows.append(MethodRow(each, [score, *values], each is setting.best))
    return rows


def comparison_rows(setting: Setting, comparison: pd.DataFrame) -> list[MethodRow]:
    """Each method beside source-only: difference, p-values, share of the drop won back."""
    own = in_setting(comparison, setting)
    rows = []
    for each in setting.contenders:
        found = of_method(own, each)
        if found.empty:
            continue
        row = found.iloc[0].rename({"low": "difference_low", "high": "difference_high"})
        values = [
            interval(row, "difference", signed=True),
            Value(p_value(row["p"])),
            Value(p_value(row["p_holm"])),
            interval(row, "won_back", share=True),
        ]
        rows.append(MethodRow(each, values, each is setting.best))
    return rows


def drop(setting: Setting, comparison: pd.DataFrame) -> Value | None:
    """What source-only loses between the domains; None where nothing was compared with it."""
    own = in_setting(comparison, setting)
    return interval(own.iloc[0], "drop") if len(own) else None


def confusion_rows(setting: Setting) -> list[MethodRow]:
    """Counts on the target's test, mean over the seeds, with the share of their class."""
    rows = []
    for each in setting.contenders:
        counts = np.zeros((2, 2))
        for training in each.trainings:
            target = training.target
            np.add.at(counts, (target["label"].to_numpy(), target["prediction"].to_numpy()), 1)
        counts /= len(each.trainings)
        shares = counts / counts.sum(axis=1, keepdims=True)
        digits = 0 if len(each.trainings) == 1 else 1
        values = [
            Value(number(counts[place], digits), f"({percent(shares[place])})")
            for place in ((1, 1), (1, 0), (0, 1), (0, 0))
        ]
        thresholds = [training.selection.threshold for training in each.trainings]
        values.append(Value(_spread(thresholds, 2)))
        rows.append(MethodRow(each, values, each is setting.best))
    return rows


def validator_rows(setting: Setting, validators: pd.DataFrame) -> list[dict[str, Any]]:
    """How each validator's ranking agrees with the oracle's, among a training's epochs and among all networks."""
    own = in_setting(validators, setting)
    if own.empty:
        return []
    rows = []
    for name, part in own.groupby("validator", sort=False):
        values = []
        for among in ("epochs", "networks"):
            found = part[part["among"] == among]
            if found.empty:
                values += [Value(NONE), Value(NONE)]
                continue
            row = found.iloc[0]
            scatter = f"± {number(row['agreement_std'], 2)}" if math.isfinite(row["agreement_std"]) else ""
            values += [Value(number(row["agreement"], 2), scatter), Value(number(row["regret"]))]
        rows.append({"name": spelt(str(name)), "named": name == setting.validator, "values": values})
    return rows


def distance_rows(setting: Setting, shifts: Sequence[Shift]) -> list[MethodRow]:
    """Both distances between the domains in each method's features; with several seeds mean and range."""
    return [
        MethodRow(
            each.contender, [_mean(each.mmd, 3), _mean(each.proxy_a, 2)], each.contender is setting.best
        )
        for each in shifts
    ]


def _mean(values: Sequence[float], digits: int) -> Value:
    bounds = f"{number(min(values), digits)} to {number(max(values), digits)}" if len(values) > 1 else ""
    return Value(number(float(np.mean(values)), digits), bounds)


def _spread(values: Sequence[float], digits: int) -> str:
    texts = list(dict.fromkeys(number(value, digits) for value in values))
    return ", ".join(texts)
