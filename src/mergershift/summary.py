"""The study's result: one table of what each method keeps of its accuracy on the target."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mergershift import evaluation
from mergershift.errors import UserError
from mergershift.folders import writing
from mergershift.project import root
from mergershift.steps import read_run
from mergershift.study import Method, Study, read_study

FOLDER = "outputs/summary"
SHOWN = ("balanced_accuracy", "auc", "ece")


def write_summary() -> None:
    """Pool each method's seeds and write the tables in outputs/summary/; raises UserError for a gap."""
    study = read_study()
    rows: list[pd.DataFrame] = []
    nested: dict[str, Any] = {}
    used: dict[str, set[str]] = {}
    for filters in study.filters:
        for method in study.methods:
            results = _pooled(study, filters, method, used)
            name = f"{filters}/{method.transfer}/{method.adaptation}"
            nested[name] = {
                role: {metric: _finite(results[role]["unique"][metric]) for metric in SHOWN}
                for role in evaluation.ROLES
            }
            rows.append(evaluation.table(results).assign(filters=filters, **method.model_dump()))
    table = pd.concat(rows, ignore_index=True).assign(
        **{name: "+".join(sorted(values)) for name, values in used.items()}
    )
    chosen = table[
        (table["role"] == "target") & (table["rows"] == "unique") & (table["metric"] == "balanced_accuracy")
    ]
    bars = pd.DataFrame(
        {
            "method": chosen[["filters", "transfer", "adaptation"]].agg(" ".join, axis=1),
            "balanced_accuracy": chosen["value"],
        }
    )
    with writing(root() / FOLDER) as folder:
        bars.to_csv(folder / "target.csv", index=False, lineterminator="\n")
        table.to_csv(folder / "transfer.csv", index=False, lineterminator="\n")
        (folder / "transfer.json").write_text(json.dumps(nested, indent=2) + "\n")


def _finite(figure: evaluation.Interval) -> dict[str, float | None]:
    """JSON has no NaN; an undefined figure is null there."""
    bounds = {"value": figure["value"], "low": figure["low"], "high": figure["high"]}
    return {name: value if math.isfinite(value) else None for name, value in bounds.items()}


def _pooled(study: Study, filters: str, method: Method, used: dict[str, set[str]]) -> evaluation.Results:
    """Results of a method over its seeds; notes in `used` on what data and split they stand."""
    parts = []
    for cell in study.cells():
        if (cell.filters, cell.method) != (filters, method):
            continue
        folder = root() / cell.folder
        path = folder / "evaluation" / "predictions.csv"
        if not path.is_file():
            raise UserError(
                f"{path}: missing.\nRun `mergershift repro`, which trains and evaluates what is missing."
            )
        parts.append(evaluation.read_predictions(path).assign(seed=cell.seed))
        record = read_run(folder)
        used.setdefault("data", set()).add(record["provenance"]["kind"])
        domains = "disjoint domains" if record["split"]["disjoint_domains"] else "shared domains"
        used.setdefault("split", set()).add(f"{record['split']['kind']}, {domains}")
    return evaluation.evaluate(pd.concat(parts, ignore_index=True))


def print_summary() -> None:
    """Print the transfer table that `write_summary` wrote."""
    path = root() / FOLDER / "transfer.csv"
    if not path.is_file():
        raise UserError(f"{path}: missing.\nRun `mergershift repro` first.")
    table = pd.read_csv(path)
    data = str(table["data"].iloc[0])
    seeds, galaxies = int(table["seeds"].max()), int(table["galaxies"].max())
    page = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"Transfer on {_SAYS.get(data, data + ' data')}",
        caption=f"Balanced accuracy and AUC on test images, one a rendering: {galaxies} galaxies, {seeds} training "
        f"seed{'s' * (seeds > 1)}; 95 % intervals from resampling galaxies"
        + (" and seeds" if seeds > 1 else ", without the scatter between trainings")
        + f". Split: {table['split'].iloc[0]}.",
    )
    for name in ("filters", "method", "source", "target", "target AUC"):
        page.add_column(name, no_wrap=True, justify="left" if name in ("filters", "method") else "right")
    for (filters, transfer, adaptation), part in table.groupby(
        ["filters", "transfer", "adaptation"], sort=False
    ):
        oracle = str(transfer).startswith("oracle_")
        page.add_row(
            str(filters),
            f"{transfer}" if oracle else f"{adaptation}",
            _figure(part, "source", "balanced_accuracy"),
            _figure(part, "target", "balanced_accuracy"),
            _figure(part, "target", "auc"),
        )
    Console().print(page)


_SAYS = {
    "mock": "MOCK images (figures of a simulated stand-in, not of the archive)",
    "archive": "the DeepMerge archive",
}


def _figure(part: pd.DataFrame, role: str, metric: str) -> str:
    chosen = part[(part["role"] == role) & (part["metric"] == metric)].iloc[0]
    value, low, high = (f"{chosen[name]:.2f}" for name in ("value", "low", "high"))
    # Without the leading zeros of the bounds the table fits 80 columns.
    return f"{value} ({low.removeprefix('0')}-{high.removeprefix('0')})"
