"""The published test scores of the DeepMerge papers, and a comparison with ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from mergershift.evaluation.metrics import COUNTS
from mergershift.evaluation.results import Scores

SOURCE = "Ćiprijanović et al. 2020 (arXiv:2004.11981) and its notebooks"
LEAK_NOTE = "split by image: test images show galaxies of the training set, from another camera or flipped"


@dataclass(frozen=True)
class PublishedScore:
    """A published score, with its 95 % bootstrap interval over images if one was published."""

    value: float
    low: float | None = None
    high: float | None = None


PUBLISHED: dict[str, dict[str, PublishedScore]] = {
    "pristine": {
        "accuracy": PublishedScore(0.793, 0.778, 0.807),
        "precision": PublishedScore(0.811),
        "recall": PublishedScore(0.802),
        "f1": PublishedScore(0.806),
        "brier": PublishedScore(0.149),
        "auc": PublishedScore(0.865, 0.852, 0.878),
        "tn": PublishedScore(1114),
        "fp": PublishedScore(311),
        "fn": PublishedScore(329),
        "tp": PublishedScore(1331),
    },
    "noisy": {
        "accuracy": PublishedScore(0.756, 0.741, 0.771),
        "precision": PublishedScore(0.770),
        "recall": PublishedScore(0.780),
        "f1": PublishedScore(0.775),
        "brier": PublishedScore(0.173),
        "auc": PublishedScore(0.820, 0.806, 0.835),
        "tn": PublishedScore(1038),
        "fp": PublishedScore(387),
        "fn": PublishedScore(365),
        "tp": PublishedScore(1295),
    },
}
"""Published scores by domain and metric, on the 3085 test images of the two-filter set, for a network trained and
tested in that domain. The archive's page rounds the accuracies to 79 % and 76 %; the README of the code release
exchanges them."""


@dataclass(frozen=True)
class PublishedLog:
    """What the log of a published training shows, for one that trains on pristine images."""

    best_accuracy: float
    accuracy_epoch: int
    best_loss: float
    loss_epoch: int
    last_epoch: int

    def __str__(self) -> str:
        return (
            f"best validation accuracy {self.best_accuracy:.4f} at epoch {self.accuracy_epoch}, best validation loss "
            f"{self.best_loss:.4f} at epoch {self.loss_epoch}, stopped at epoch {self.last_epoch}"
        )


LOG_2020 = PublishedLog(0.8093, 207, 0.4487, 221, 271)
"""From the 2020 notebook on pristine images; epochs are counted from 1, and the loss includes the weight penalty."""

SOURCE_2021 = "Ćiprijanović et al. 2021 (arXiv:2103.01373) and a talk of 2020"
PUBLISHED_2021 = {"source_only": 0.53, "dann_2021": 0.70}
"""Accuracy on noisy test images after training on pristine ones, all rows counted, by the names of our methods: those
of the talk. The paper's own table of methods is not included, because it was not available to check against."""
LARGEST_GAIN_2021 = 0.20
"""Largest gain in accuracy on the target that the paper's abstract states, approximately."""
METHODS_2021 = ("source_only", "mmd_2021", "mmd_fisher_2021", "dann_2021", "dann_fisher_2021")
"""Our names of the trainings of the released code."""


def comparison_rows(ours: Mapping[str, Scores]) -> list[dict[str, str | float | None]]:
    """Compare the published scores with ours, in one row per domain and metric.

    Args:
        ours: by domain (pristine, noisy), the scores over all test rows of a network trained and tested in it,
            ``evaluate(..., all_rows=True)[role]["all_rows"]``; a domain may be missing.

    Returns dictionaries with the keys domain, metric, published, published_low, published_high, ours, ours_low,
        ours_high; unknown values are None.
    Raises ValueError if `ours` contains a domain without published scores.
    """
    unknown = sorted(set(ours) - set(PUBLISHED))
    if unknown:
        raise ValueError(f"no published scores for {', '.join(unknown)}, only for {', '.join(PUBLISHED)}")
    rows: list[dict[str, str | float | None]] = []
    for domain, scores in PUBLISHED.items():
        for metric, published in scores.items():
            own = ours[domain][metric] if domain in ours else None
            rows.append(
                {
                    "domain": domain,
                    "metric": metric,
                    "published": published.value,
                    "published_low": published.low,
                    "published_high": published.high,
                    "ours": own["value"] if own else None,
                    "ours_low": own["low"] if own else None,
                    "ours_high": own["high"] if own else None,
                }
            )
    return rows


def comparison_table(ours: Mapping[str, Scores]) -> Table:
    """Render `comparison_rows` as a table for the terminal, with the number of test images and a note on leakage."""
    table = Table(title="Trained and tested in one domain, all test rows", caption=f"{SOURCE}; {LEAK_NOTE}")
    table.add_column("")
    for domain in PUBLISHED:
        table.add_column(f"{domain}\npublished", justify="right")
        table.add_column(f"{domain}\nours", justify="right")
    rows = {(row["domain"], row["metric"]): row for row in comparison_rows(ours)}
    images = []
    for domain, scores in PUBLISHED.items():
        own = f"{ours[domain]['images']['value']:.0f}" if domain in ours else "–"
        images += [f"{sum(scores[name].value for name in COUNTS):.0f}", own]
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
