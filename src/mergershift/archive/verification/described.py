"""Comparison of the metadata table with the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.metadata import METADATA_NAME, read_metadata
from mergershift.archive.verification.findings import Report
from mergershift.core.errors import UserError


def check_metadata(folder: Path, labels: NDArray[np.int64] | None, report: Report) -> None:
    """Compare the metadata table of a data folder, if it has one, with the labels `(N,)` of one of its data sets."""
    remedy = f"Delete {METADATA_NAME} and make it again with `mergershift data mock` or `mergershift data metadata`."
    try:
        table = read_metadata(folder)
    except UserError as error:
        found = str(error).removeprefix(f"{folder / METADATA_NAME}: ").splitlines()[0].rstrip(".")
        report.add("error", METADATA_NAME, found=found, expected="one row per image", remedy=remedy)
        return
    if table is None or labels is None or np.array_equal(table["merger"].to_numpy(), labels):
        return
    found = f"{len(table)} rows with {int(table['merger'].sum())} mergers, which do not match the labels"
    expected = f"{len(labels)} rows, {int(labels.sum())} of them mergers, in the order of the labels"
    report.add("error", METADATA_NAME, found=found, expected=expected, remedy=remedy)
