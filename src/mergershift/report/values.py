"""Numbers, shares and intervals as the page and the printed tables write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

NONE = "–"


class Value(NamedTuple):
    """A number and its interval as text; `bounds` is empty if there is no interval."""

    text: str
    bounds: str = ""


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


def interval(
    row: pd.Series[Any] | Mapping[str, Any], name: str = "", *, signed: bool = False, share: bool = False
) -> Value:
    """Format the columns ``name, name_low, name_high`` of a row, or ``value, low, high`` without a name."""
    columns = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    numbers = [float(row.get(column, math.nan)) for column in columns]
    value, low, high = (percent(entry) if share else number(entry, signed=signed) for entry in numbers)
    return Value(value, f"[{low}, {high}]" if NONE not in (low, high) else "")
