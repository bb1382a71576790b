"""The rows of comparison.csv that belong to a setting."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mergershift.report.study_results import Contender, Setting, StudyResults, in_setting, of_method


def compared_rows(setting: Setting, gathered: StudyResults) -> dict[Contender, pd.Series[Any]]:
    """The rows of comparison.csv of a setting's label-free methods, the best result first."""
    own = in_setting(gathered.comparison, setting)
    found = {contender: of_method(own, contender) for contender in setting.label_free}
    return {contender: rows.iloc[0] for contender, rows in found.items() if len(rows)}
