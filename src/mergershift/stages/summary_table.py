"""The transfer table of the study, as it is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mergershift.archive import images_of
from mergershift.cells.summary_files import read_table
from mergershift.config.study import Method
from mergershift.core.words import counted
from mergershift.evaluation.conclusions import FEWEST_SEEDS
from mergershift.report.published_figures import NOTE, AllRows, all_rows


def print_summary() -> None:
    """Print the transfer table that `write_summary` wrote; raises UserError if it is missing."""
    table = read_table("transfer", "Run `mergershift summary`, or `mergershift repro`, which makes it.")
    transfer = table
    table = table[(table["choice"] == "label_free") & (table["rows"] == "unique")]
    kind = str(table["data"].iloc[0])
    seeds, galaxies = int(table["seeds"].max()), int(table["galaxies"].max())
    page = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"Transfer on {images_of(kind)}",
        caption="Balanced accuracy and AUC on test images, each rendering once: "
        f"{counted(galaxies, 'galaxy')}, {counted(seeds, 'training seed')}; "
        + (
            "95 % intervals over galaxies and seeds"
            if seeds > 1
            else "95 % intervals over galaxies, without the scatter between trainings"
        )
        + (f". {FEWEST_SEEDS} seeds are the least for a claim about a method" if seeds < FEWEST_SEEDS else "")
        + f". Epochs and thresholds chosen without target labels. Split: {table['split'].iloc[0]}.",
    )
    for name in ("filters", "method", "source", "target", "target AUC"):
        page.add_column(name, no_wrap=True, justify="left" if name in ("filters", "method") else "right")
    names = ["transfer", "adaptation", "experiment"]
    for (filters, *method), part in table.groupby(["filters", *names], sort=False):
        scores = part.drop_duplicates(["role", "metric"]).set_index(["role", "metric"]).to_dict("index")
        page.add_row(
            str(filters),
            Method.model_validate(dict(zip(names, method, strict=True))).title,
            _with_interval(scores, "source", "balanced_accuracy"),
            _with_interval(scores, "target", "balanced_accuracy"),
            _with_interval(scores, "target", "auc"),
        )
    Console().print(page)
    if rows := all_rows(transfer):
        Console().print(_as_published(rows))


def _as_published(rows: list[AllRows]) -> Table:
    page = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title="All test rows, as the published papers count",
        caption=NOTE,
    )
    for name in ("filters", "method", "source", "target", "published", "target, once"):
        page.add_column(name, justify="left" if name in ("filters", "method") else "right")
    for row in rows:
        scores = (f"{value.text} {value.bounds}".strip() for value in (row.source, row.target, row.balanced))
        source, target, balanced = map(escape, scores)
        page.add_row(row.filters, row.method, source, target, row.published, balanced)
    return page


def _with_interval(scores: Mapping[Any, Mapping[Any, Any]], role: str, metric: str) -> str:
    value, low, high = (f"{scores[role, metric][name]:.2f}" for name in ("value", "low", "high"))
    # The bounds drop their leading zeros, so that the table fits into 80 columns.
    return f"{value} ({low.removeprefix('0')}-{high.removeprefix('0')})"
