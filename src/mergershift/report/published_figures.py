"""Scores over all test rows, as the published papers count them, beside the published ones and each rendering once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from mergershift.config.study import Method
from mergershift.evaluation.published import LARGEST_GAIN_2021, PUBLISHED_2021, SOURCE_2021
from mergershift.report.values import NONE, Value, interval

PROTOCOL_2021 = "published_leaky, independent domains"
"""Rule of the split under which our scores can be set beside the published ones of 2021."""
NOTE = (
    "Accuracy over all test rows, copies of mergers included, at a threshold of one half. Under a split by image, "
    "nearly every test galaxy was also trained on. The last column counts each rendering of the same test once "
    f"and both classes alike. Published: {SOURCE_2021}; the paper states a gain of up to about "
    f"{LARGEST_GAIN_2021:.2f} on the target."
)


class AllRows(NamedTuple):
    """A method's scores on test images of one filter set."""

    filters: str
    method: str
    source: Value
    """Accuracy over all rows of the source's test."""
    target: Value
    """Accuracy over all rows of the target's test."""
    published: str
    """Published accuracy on the target's test; a dash if there is none."""
    balanced: Value
    """Balanced accuracy on the target's test, each rendering once."""


def all_rows(transfer: pd.DataFrame) -> list[AllRows]:
    """Return a row for each method that was scored on all test rows; `transfer` is the summary's table of that name."""
    return list(_rows(transfer[transfer["choice"] == "label_free"]))


def _rows(table: pd.DataFrame) -> Iterator[AllRows]:
    names = list(Method.model_fields)
    for (filters, source, *method), part in table.groupby(["filters", "source", *names], sort=False):
        if "all_rows" not in set(part["rows"]):
            continue
        title = Method.model_validate(dict(zip(names, method, strict=True))).title
        comparable = (part["split"].iloc[0], filters, source) == (PROTOCOL_2021, "three", "pristine")
        published = PUBLISHED_2021.get(title) if comparable else None
        yield AllRows(
            str(filters),
            title,
            _score(part, "source", "all_rows", "accuracy"),
            _score(part, "target", "all_rows", "accuracy"),
            NONE if published is None else f"{published:.2f}",
            _score(part, "target", "unique", "balanced_accuracy"),
        )


def _score(part: pd.DataFrame, role: str, rows: str, metric: str) -> Value:
    found = part[(part["role"] == role) & (part["rows"] == rows) & (part["metric"] == metric)]
    return interval(found.iloc[0]) if len(found) else Value(NONE)
