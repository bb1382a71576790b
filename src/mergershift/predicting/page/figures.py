"""Distributions of a set of predictions, beside those of the training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from mergershift.predicting.page.training import Range
from mergershift.report.style import INK, SOURCE, TARGET, Style
from mergershift.report.svg import panel

BINS = 30
PANEL = (3.3, 2.35)
"""Width and height in inches of a small figure."""
REACH = 5.0
"""Largest factor by which a logarithmic axis exceeds the values of the set towards those of the training images."""
STRIP = 0.26
"""Height in inches of the range of a domain."""
FONT = 9.5
FEW = 300
"""Number of points up to which they are drawn large."""
Values = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Measure:
    """How a measure is drawn and named."""

    name: str
    axis: str
    """Name of the axis, with its unit."""
    logarithmic: bool = False
    digits: str = ".3g"
    """Format of its values in texts."""


MEASURES = {
    "sky_level": Measure("Sky level", "µJy/arcsec²", digits="z.3f"),
    "sky_noise": Measure("Sky noise", "µJy/arcsec²", logarithmic=True),
    "peak_sn": Measure("Peak signal-to-noise", "peak S/N", logarithmic=True),
    "size": Measure("Size of the source", "half-light radius, kpc", logarithmic=True),
}
"""Measures by filter that are compared with those of the training images."""


def probabilities(values: Values, threshold: float) -> Figure:
    """Draw the distribution of the probability, on both sides of the threshold."""
    figure, axes = panel(5.6, 3.1)
    # The threshold is the edge of a bin, so that the colours separate the calls exactly.
    steps = max(round(threshold * 20), 1), max(round((1 - threshold) * 20), 1)
    edges = np.unique(
        np.concatenate([np.linspace(0, threshold, steps[0] + 1), np.linspace(threshold, 1, steps[1] + 1)])
    )
    for style, chosen, name in (
        (SOURCE, values < threshold, "non-merger"),
        (TARGET, values >= threshold, "merger"),
    ):
        _stairs(axes, values[chosen], edges, style, name)
    axes.axvline(threshold, color=INK.light, linewidth=1, linestyle=":")
    axes.set(xlabel="probability of showing a merger", ylabel="images", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.16))
    return figure


def scatters(probability: NDArray[np.floating], scatter: NDArray[np.floating], threshold: float) -> Figure:
    """Draw the scatter over the views against the probability; on the V, a call is one scatter from the threshold."""
    figure, axes = panel(*PANEL)
    shown = _thinned(np.stack([probability, scatter], axis=1))
    few = len(shown) <= FEW
    size, alpha = (7.0, 0.8) if few else (3.5, 0.5)
    axes.plot(
        shown[:, 0], shown[:, 1], ".", color=SOURCE.light, markersize=size, alpha=alpha, markeredgewidth=0
    )
    top = 1.05 * max(float(np.nanmax(scatter)), 0.02)
    wings = np.array([max(threshold - top, 0), threshold, min(threshold + top, 1)])
    axes.plot(wings, np.abs(wings - threshold), color=INK.light, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(0, top))
    _dress(axes, "probability")
    axes.set_ylabel("scatter over the views", fontsize=FONT)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    return figure


def distances(values: Values) -> Figure:
    """Draw the distribution of the distance in feature space."""
    figure, axes = panel(*PANEL)
    edges = np.linspace(0, max(float(np.quantile(values, 0.99)), 1.2), BINS + 1)
    _stairs(axes, np.clip(values, 0, edges[-1]), edges)
    axes.set_xlim(0, edges[-1])
    axes.axvline(1, color=INK.light, linewidth=1, linestyle=":")
    _dress(axes, "feature distance")
    return figure


def redshifts(values: Values, training: float) -> Figure:
    """Draw the distribution of the redshift, with that of the training galaxies."""
    figure, axes = panel(*PANEL)
    low, high = min(float(values.min()), training), max(float(values.max()), training)
    margin = 0.04 * (high - low) or 0.1
    _stairs(axes, values, np.linspace(low - margin, high + margin, BINS + 1))
    axes.axvline(training, color=TARGET.light, linewidth=2)
    _dress(axes, "redshift")
    return figure


def measured(measure: Measure, values: Values, ranges: Sequence[Range]) -> Figure:
    """Draw the distribution of a measure in one filter, above the ranges of the training images by domain.

    Args:
        measure: How it is drawn.
        values: Values of the set, finite.
        ranges: Quantiles of the training images; none if they are unknown.
    """
    width, height = PANEL
    figure = Figure(figsize=(width, height + STRIP * len(ranges)), layout="constrained")
    heights = [height, STRIP * len(ranges)] if ranges else [height]
    axes, *below = np.atleast_1d(figure.subplots(len(heights), sharex=True, height_ratios=heights))
    edges = _edges(measure, values, ranges)
    if measure.logarithmic:
        axes.set_xscale("log")
    # The first and the last bin contain what lies beyond them.
    _stairs(axes, np.clip(values, edges[0], edges[-1]), edges)
    axes.set_xlim(edges[0], edges[-1])
    for strip in below:
        _draw_ranges(strip, ranges, edges[0], edges[-1])
    _dress(axes, "" if below else measure.axis)
    lowest = below[0] if below else axes
    lowest.set_xlabel(measure.axis, fontsize=FONT)
    if measure.logarithmic:
        decades = np.log10(edges[-1] / edges[0])
        subs = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
        lowest.xaxis.set_major_locator(LogLocator(subs=subs))
        lowest.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        lowest.xaxis.set_minor_locator(NullLocator())
    return figure


def _edges(measure: Measure, values: Values, ranges: Sequence[Range]) -> Values:
    """Place the bins so that the set fills a good part of the axis, however far the training images are from it."""
    low, high = np.quantile(values, [0.005, 0.995])
    if measure.logarithmic:
        high = high if high > 0 else 1.0
        low = max(low, 1e-3 * high)
        nearest, farthest = low / REACH, high * REACH
    else:
        width = max([high - low, *(domain.high - domain.low for domain in ranges)])
        nearest, farthest = low - width, high + width
    low = max(nearest, min([low, *(domain.low for domain in ranges)]))
    high = min(farthest, max([high, *(domain.high for domain in ranges)]))
    if measure.logarithmic:
        return np.geomspace(low / 1.1, high * 1.1, BINS + 1)
    margin = 0.05 * (high - low) or 0.1
    return np.linspace(low - margin, high + margin, BINS + 1)


def _draw_ranges(axes: Axes, ranges: Sequence[Range], first: float, last: float) -> None:
    for place, domain in enumerate(ranges):
        if domain.high < first or domain.low > last:
            marker, edge = ("<", first) if domain.high < first else (">", last)
            axes.plot(edge, place, marker, color=TARGET.light, markersize=6, clip_on=False)
            continue
        low, quarter, median, three_quarters, high = np.clip(domain.quantiles, first, last)
        axes.plot([low, high], [place] * 2, color=TARGET.light, linewidth=1.4)
        axes.plot([quarter, three_quarters], [place] * 2, color=TARGET.light, linewidth=6, alpha=0.55)
        axes.plot(median, place, "|", color=INK.light, markersize=9, markeredgewidth=1.4)
    axes.set_yticks(range(len(ranges)), [domain.domain for domain in ranges])
    axes.set_ylim(len(ranges) - 0.4, -0.6)
    axes.tick_params(labelsize=FONT)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)


def _stairs(
    axes: Axes, values: Values, edges: NDArray[np.floating], style: Style = SOURCE, name: str | None = None
) -> None:
    counts, _ = np.histogram(values, edges)
    axes.stairs(counts, edges, fill=True, color=style.light, alpha=0.8, linewidth=0, label=name)


def _dress(axes: Axes, name: str) -> None:
    axes.set_xlabel(name, fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)


def _thinned(points: NDArray[np.floating], most: int = 3000) -> NDArray[np.floating]:
    return points[:: -(-len(points) // most)]
