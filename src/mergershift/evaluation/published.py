"""The published test figures of the first DeepMerge paper, and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from mergershift.evaluation.metrics import COUNTS
from mergershift.evaluation.results import Scores

SOURCE = "Ćiprijanović et al. 2020 (arXiv:2004.11981) and its notebooks"
LEAK_NOTE = "by-image split: test images show galaxies of the training set, other camera or flipped"


@dataclass(frozen=True)
class PublishedFigures:
    """A published figure, with the 95 % bootstrap interval over images where one was given."""

    value: float
    low: float | None = None
    high: float | None = None


PUBLISHED: dict[str, dict[str, PublishedFigures]] = {
    "pristine": {
        "accuracy": PublishedFigures(0.793, 0.778, 0.807),
        "precision": PublishedFigures(0.811),
        "recall": PublishedFigures(0.802),
        "f1": PublishedFigures(0.806),
        "brier": PublishedFigures(0.149),
        "auc": PublishedFigures(0.865, 0.852, 0.878),
        "tn": PublishedFigures(1114),
        "fp": PublishedFigures(311),
        "fn": PublishedFigures(329),
        "tp": PublishedFigures(1331),
    },
    "noisy": {
        "accuracy": PublishedFigures(0.756, 0.741, 0.771),
        "precision": PublishedFigures(0.770),
        "recall": PublishedFigures(0.780),
        "f1": PublishedFigures(0.775),
        "brier": PublishedFigures(0.173),
        "auc": PublishedFigures(0.820, 0.806, 0.835),
        "tn": PublishedFigures(1038),
        "fp": PublishedFigures(387),
        "fn": PublishedFigures(365),
        "tp": PublishedFigures(1295),
    },
}
"""Domain -> metric -> figure on the 3085 test images of the two-filter set, trained and tested in that domain. The
archive's page rounds the accuracies to 79 % and 76 %; the README of the code release has the two swapped."""


def comparison_rows(ours: Mapping[str, Scores]) -> list[dict[str, str | float | None]]:
    """Lay published and own figures side by side, one row per domain and metric.

    Args:
        ours: domain (pristine, noisy) -> figures over all test rows of a network trained and tested there,
            ``evaluate(..., all_rows=True)[role]["all_rows"]``; a domain may be missing.

    Keys: domain, metric, published, published_low, published_high, ours, ours_low, ours_high (None where
        unknown).
    Raises ValueError on a domain that was not published.
    """
    unknown = sorted(set(ours) - set(PUBLISHED))
    if unknown:
        raise ValueError(f"no published figures for {', '.join(unknown)}, only for {', '.join(PUBLISHED)}")
    rows: list[dict[str, str | float | None]] = []
    for domain, figures in PUBLISHED.items():
        for metric, figure in figures.items():
            own = ours[domain][metric] if domain in ours else None
            rows.append(
                {
                    "domain": domain,
                    "metric": metric,
                    "published": figure.value,
                    "published_low": figure.low,
                    "published_high": figure.high,
                    "ours": own["value"] if own else None,
                    "ours_low": own["low"] if own else None,
                    "ours_high": own["high"] if own else None,
                }
            )
    return rows


def comparison_table(ours: Mapping[str, Scores]) -> Table:
    """Draw `comparison_rows` as a table for the terminal, with the number of test images and the leak named."""
    table = Table(title="Trained and tested in one domain, all test rows", caption=f"{SOURCE}; {LEAK_NOTE}")
    table.add_column("")
    for domain in PUBLISHED:
        table.add_column(f"{domain}\npublished", justify="right")
        table.add_column(f"{domain}\nours", justify="right")
    rows = {(row["domain"], row["metric"]): row for row in comparison_rows(ours)}
    images = []
    for domain, figures in PUBLISHED.items():
        own = f"{ours[domain]['images']['value']:.0f}" if domain in ours else "–"
        images += [f"{sum(figures[name].value for name in COUNTS):.0f}", own]
    table.add_row("images", *images)
    for metric in PUBLISHED["pristine"]:
        cells = []
        for domain in PUBLISHED:
            row = rows[domain, metric]
            cells += [_text(metric, row, "published"), _text(metric, row, "ours")]
        table.add_row(metric.upper() if metric in (*COUNTS, "auc") else metric, *cells)
    return table


def _text(metric: str, row: Mapping[str, str | float | None], whose: str) -> str:
    value, low, high = row[whose], row[f"{whose}_low"], row[f"{whose}_high"]
    if value is None:
        return "–"
    if metric in COUNTS:
        return f"{value:.0f}"
    bounds = "" if low is None or low != low else f" \\[{low:.3f}, {high:.3f}]"
    return f"{value:.3f}{bounds}"
