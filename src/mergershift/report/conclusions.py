"""What the page claims of a difference between a method and source-only."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pandas as pd

from mergershift.report.study_results import Contender, Setting, StudyResults, in_setting, of_method

ALPHA = 0.05
"""Level of the test, after Holm's correction for all methods of a setting."""


class Conclusion(StrEnum):
    """A claim on a difference, in the words of the page's tables."""

    GAIN = "gain"
    LOSS = "loss"
    OPEN = "not distinguishable"


def conclude(row: pd.Series[Any]) -> Conclusion:
    """Draw the conclusion from a method's row of comparison.csv.

    A difference is claimed only if the corrected test and the interval both support it. The interval is that of the
    method alone, so that among many methods some intervals exclude 0 by chance.
    """
    if not row["p_holm"] < ALPHA:
        return Conclusion.OPEN
    if row["low"] > 0:
        return Conclusion.GAIN
    return Conclusion.LOSS if row["high"] < 0 else Conclusion.OPEN


def disagrees(row: pd.Series[Any]) -> bool:
    """Whether a method's interval excludes 0 although no difference is claimed."""
    return conclude(row) is Conclusion.OPEN and bool(row["low"] > 0 or row["high"] < 0)


def compared_rows(setting: Setting, gathered: StudyResults) -> dict[Contender, pd.Series[Any]]:
    """The rows of comparison.csv of a setting's label-free methods, the best result first."""
    own = in_setting(gathered.comparison, setting)
    found = {contender: of_method(own, contender) for contender in setting.label_free}
    return {contender: rows.iloc[0] for contender, rows in found.items() if len(rows)}
