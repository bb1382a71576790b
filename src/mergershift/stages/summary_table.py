"""The transfer table of the study, as it is printed."""

from __future__ import annotations

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mergershift.archive import images_of
from mergershift.cells.summary_files import read_table
from mergershift.config.study import Method
from mergershift.core.words import counted


def print_summary() -> None:
    """Print the transfer table that `write_summary` wrote; raises UserError if it is missing."""
    table = read_table("transfer", "Run `mergershift summary`, or `mergershift repro`, which makes it.")
    table = table[table["choice"] == "label_free"]
    kind = str(table["data"].iloc[0])
    seeds, galaxies = int(table["seeds"].max()), int(table["galaxies"].max())
    page = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"Transfer on {images_of(kind)}",
        caption="Balanced accuracy and AUC on test images, each rendering once: "
        f"{counted(galaxies, 'galaxy')}, {counted(seeds, 'training seed')}; "
        "95 % intervals from resampling galaxies"
        + (" and seeds" if seeds > 1 else ", without the scatter between trainings")
        + f". Epochs and thresholds chosen without target labels. Split: {table['split'].iloc[0]}.",
    )
    for name in ("filters", "method", "source", "target", "target AUC"):
        page.add_column(name, no_wrap=True, justify="left" if name in ("filters", "method") else "right")
    names = ["transfer", "adaptation", "experiment"]
    for (filters, *method), part in table.groupby(["filters", *names], sort=False):
        page.add_row(
            str(filters),
            Method.model_validate(dict(zip(names, method, strict=True))).title,
            _with_interval(part, "source", "balanced_accuracy"),
            _with_interval(part, "target", "balanced_accuracy"),
            _with_interval(part, "target", "auc"),
        )
    Console().print(page)


def _with_interval(part: pd.DataFrame, role: str, metric: str) -> str:
    chosen = part[(part["role"] == role) & (part["metric"] == metric)].iloc[0]
    value, low, high = (f"{chosen[name]:.2f}" for name in ("value", "low", "high"))
    # The bounds drop their leading zeros, so that the table fits into 80 columns.
    return f"{value} ({low.removeprefix('0')}-{high.removeprefix('0')})"
