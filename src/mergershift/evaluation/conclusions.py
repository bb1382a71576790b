"""What is claimed of the loss of source-only, and of a difference between a method and source-only."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pandas as pd

ALPHA = 0.05
"""Level of the test, after Holm's correction for all that a study claims."""
FEWEST_SEEDS = 5
"""Least number of seeds for a claim about a method: with fewer, its scatter between trainings is hardly known."""


class Conclusion(StrEnum):
    """A claim on a difference, in the words of tables and pages."""

    GAIN = "gain"
    LOSS = "loss"
    OPEN = "not distinguishable"


def conclude(row: pd.Series[Any]) -> Conclusion:
    """Draw the conclusion from a method's row of comparison.csv.

    A difference is claimed only if the test, corrected for everything that the study claims, supports it. The interval
    is that of the method alone, so that among many methods some intervals exclude 0 by chance.
    """
    if not row["p_holm"] < ALPHA:
        return Conclusion.OPEN
    if row["low"] > 0:
        return Conclusion.GAIN
    return Conclusion.LOSS if row["high"] < 0 else Conclusion.OPEN


def loses(row: pd.Series[Any]) -> bool:
    """Whether the loss of source-only between the domains is claimed, according to a row of comparison.csv.

    Summaries of earlier versions have no corrected test of it, only the interval.
    """
    return bool(row["drop_low"] > 0 and row.get("drop_p_holm", 0.0) < ALPHA)


def disagrees(row: pd.Series[Any]) -> bool:
    """Whether a method's interval excludes 0 although no difference is claimed."""
    return conclude(row) is Conclusion.OPEN and bool(row["low"] > 0 or row["high"] < 0)
