"""The files in outputs/summary/ that other commands read: their contents, and how they are read and checked."""

from __future__ import annotations

import pandas as pd
from pydantic import BaseModel, ConfigDict

from mergershift.cells.layout import BEST, SUMMARY
from mergershift.config import LabelFree
from mergershift.config.study import Method
from mergershift.core.checkout import root
from mergershift.core.reading import Columns, damaged, read_csv, read_json

_METHOD: Columns = dict.fromkeys(("filters", "transfer", "adaptation", "experiment", "source", "target"), str)
TABLES: dict[str, Columns] = {
    "transfer": {
        **_METHOD,
        **dict.fromkeys(("choice", "role", "rows", "metric", "data", "split"), str),
        **dict.fromkeys(("value", "low", "high"), float),
        **dict.fromkeys(("galaxies", "seeds"), int),
    },
    "comparison": {
        **_METHOD,
        **dict.fromkeys(("difference", "low", "high", "p", "p_holm"), float),
        **dict.fromkeys(
            ("won_back", "won_back_low", "won_back_high", "drop", "drop_low", "drop_high"), float
        ),
    },
    "validators": {
        **dict.fromkeys(("filters", "source", "target", "among", "validator"), str),
        **dict.fromkeys(("agreement", "agreement_std", "regret"), float),
    },
}
"""Columns of each table, by the name of its CSV file, that other commands use."""


class BestMethod(BaseModel):
    """An entry of best.json: the method that ranks first for a filter set and direction."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    filters: str
    source: str
    target: str
    validator: LabelFree
    """The validator that was named beforehand to compare methods."""
    best: str | None
    """Title of the method; None if no method has a finite score."""
    method: Method | None
    scores: dict[str, float]
    """Mean score of each label-free method by its title, where it is finite."""


def read_best(remedy: str) -> list[BestMethod]:
    """Read best.json; raises DamagedFile, with `remedy`, if it is missing or damaged."""
    path = root() / SUMMARY / BEST
    entries = read_json(path, list[BestMethod], remedy)
    if not entries:
        raise damaged(path, "no entries, expected one for each filter set and direction", remedy)
    return entries


def read_table(name: str, remedy: str) -> pd.DataFrame:
    """Read one of `TABLES`; raises DamagedFile, with `remedy`, if it is missing or damaged.

    A study without a method to compare has no rows of `comparison`, and such a table has no columns either.
    """
    return read_csv(root() / SUMMARY / f"{name}.csv", TABLES[name], remedy, rows=int(name == "transfer"))
