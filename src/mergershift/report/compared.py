"""The rows of comparison.csv that belong to a setting."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mergershift.report.study_results import Contender, Setting, StudyResults


def compared_rows(setting: Setting, gathered: StudyResults) -> dict[Contender, pd.Series[Any]]:
    """The rows of comparison.csv of a setting's label-free methods, the best result first."""
    found = {contender: gathered.compared(setting, contender) for contender in setting.label_free}
    return {contender: row for contender, row in found.items() if row is not None}
