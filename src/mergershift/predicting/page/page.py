"""Writes the page on a set of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mergershift import __version__
from mergershift.archive import images_of
from mergershift.core.files import write_text
from mergershift.images.measure import MEASURES as MEANINGS
from mergershift.predicting.page import figures, sentences
from mergershift.predicting.page.galleries import sheet
from mergershift.predicting.page.gathered import Gathered
from mergershift.predicting.page.training import Training, outside
from mergershift.report.rendering import render
from mergershift.report.stamps import Stretch
from mergershift.report.style import SOURCE, TARGET
from mergershift.report.svg import embedded, mark, style
from mergershift.report.wording import counted

MOST_WAYS = 12
"""Number of ways of conversion that are listed."""
GALLERIES = {
    "mergers": ("Most confident mergers", "The highest probabilities."),
    "close": ("Closest to the threshold", "Calls that a small change could turn."),
    "non-mergers": ("Most confident non-mergers", "The lowest probabilities."),
    "distant": ("Furthest from the training images", "The largest feature distances above 1."),
    "withheld": ("Without a prediction", "The first images in which a filter has too little data."),
}


def write_page(path: Path, table: Path, gathered: Gathered) -> None:
    """Write the page on the predictions in `table` to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        write_text(path, _page(table, gathered))


class _Drawn:
    """Turns figures into SVG, each marked with what the model was trained on."""

    def __init__(self, kind: str) -> None:
        self._note = {"archive": "model of the DeepMerge archive", "mock": "MODEL OF MOCK IMAGES"}.get(
            kind, "MODEL OF UNKNOWN PROVENANCE"
        )
        self._count = 0

    def __call__(self, figure: Figure, alt: str) -> str:
        mark(figure, self._note)
        self._count += 1
        return embedded(figure, alt, self._count)


def _page(table: Path, gathered: Gathered) -> str:
    facts, training = gathered.facts, Training(gathered.facts)
    drawn = _Drawn(facts.data_kind)
    probability = gathered.score("probability")
    known = ~np.isnan(probability)
    scatter = gathered.scatter
    return render(
        Path(__file__).parent / "set.html.j2",
        styles=[SOURCE, TARGET],
        title=f"Which of {counted(gathered.summary.images, 'image')} show mergers?",
        banner=sentences.banner(facts),
        headline=sentences.headline(gathered),
        remarks=sentences.remarks(gathered, training),
        unknowable=sentences.unknowable(facts),
        facts=_facts(table, gathered),
        flags=sentences.flag_rows(gathered),
        refusals=gathered.summary.reasons(),
        ways=_ways(gathered),
        threshold=f"{facts.threshold:.3f}",
        probabilities=drawn(
            figures.probabilities(probability[known], facts.threshold),
            "Histogram of the probability, non-mergers and mergers on either side of the threshold.",
        ),
        scatters=None
        if scatter is None
        else drawn(
            figures.scatters(probability[known], scatter[known], facts.threshold),
            "Scatter of the probability over turned and mirrored views, against the probability.",
        ),
        measures=_measures(gathered, training, drawn),
        compared=sentences.percent(training.share) if training.known else "",
        others=_others(gathered, drawn),
        galleries=_galleries(gathered, drawn),
        caption=Stretch(facts.filter_set).caption,
        field=f"{facts.field_kpc:.0f} kpc",
        terms=sentences.provenance(facts),
        version=__version__,
    )


def _facts(table: Path, gathered: Gathered) -> list[tuple[str, str]]:
    meta, facts = gathered.form.meta, gathered.facts
    return [
        ("Table", table.name),
        ("Model", f"{meta['MODEL']}" + (f", {meta['VERSION']}" if meta["VERSION"] else "")),
        ("Training", f"{facts.name}, on {images_of(facts.data_kind)}"),
        (
            "It takes",
            f"{', '.join(name.upper() for name in facts.filters)} of {facts.field_kpc:g} kpc around a galaxy, on "
            f"{facts.image_size} × {facts.image_size} pixels, at z ≈ {facts.redshift:g}",
        ),
        ("Threshold", f"{facts.threshold:.3f} ({facts.threshold_rule.replace('_', ' ')})"),
        ("Views", "eight, turned and mirrored, and their mean" if facts.views > 1 else "one"),
        ("Program", meta["PROGRAM"]),
    ]


def _ways(gathered: Gathered) -> list[tuple[str, int]]:
    return [
        (gathered.way_examples[way] or "none", count) for way, count in gathered.ways.most_common(MOST_WAYS)
    ]


def _measures(gathered: Gathered, training: Training, drawn: _Drawn) -> list[dict[str, Any]]:
    """Figures and numbers of the measures by filter."""
    found = []
    measures = gathered.measures
    for name, measure in figures.MEASURES.items():
        if name not in measures:
            continue
        values = measures[name]
        panels = []
        for place, filter_name in enumerate(gathered.facts.filters):
            finite = values[:, place][np.isfinite(values[:, place])]
            if not len(finite):
                continue
            ranges = training.ranges(name, filter_name)
            share = outside(finite, ranges)
            alt = f"Histogram of {measure.name.lower()} in {filter_name.upper()}."
            panels.append(
                {
                    "svg": drawn(figures.measured(measure, finite, ranges), alt),
                    "filter": filter_name.upper(),
                    "median": format(float(np.median(finite)), measure.digits),
                    "outside": "" if np.isnan(share) else sentences.percent(share),
                    "many": share > sentences.MANY,
                }
            )
        if panels:
            found.append({"name": measure.name, "meaning": MEANINGS[name], "panels": panels})
    return found


def _others(gathered: Gathered, drawn: _Drawn) -> list[dict[str, str]]:
    """Figures of what is not by filter: distance in feature space and redshift."""
    found = []
    distance = gathered.score("feature_distance")
    if len(distance := distance[np.isfinite(distance)]):
        svg = drawn(figures.distances(distance), "Histogram of the feature distance.")
        text = "Feature distance. Dotted: 99 % of held-out images of the training's domains are closer."
        found.append({"svg": svg, "text": text})
    redshifts = gathered.redshifts
    if len(redshifts := redshifts[np.isfinite(redshifts)]):
        svg = drawn(figures.redshifts(redshifts, gathered.facts.redshift), "Histogram of the redshift.")
        text = "Redshift that was used for the scale. Orange: all training galaxies."
        found.append({"svg": svg, "text": text})
    return found


def _galleries(gathered: Gathered, drawn: _Drawn) -> Sequence[dict[str, str]]:
    found = []
    for name, (title, text) in GALLERIES.items():
        gallery = gathered.galleries[name]
        if gallery.examples:
            alt = f"{title}: {len(gallery.examples)} of {gallery.count} images."
            svg = drawn(sheet(gallery.examples, gathered.facts), alt)
            shown = f"{len(gallery.examples)} of {counted(gallery.count, 'image')}"
            found.append(
                {"title": title, "text": f"{text} {shown}." if name != "close" else text, "svg": svg}
            )
    return found
