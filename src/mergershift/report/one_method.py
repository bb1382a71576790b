"""Figures of a single method: its learning curves, and its feature plane."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mergershift.evaluation.metrics import Floats
from mergershift.report.feature_shift import Shift
from mergershift.report.margins import lay_out
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import MUTED, SOURCE, TARGET
from mergershift.report.svg import PANEL

MOST_POINTS = 200
"""Number of points of each domain in a feature plane above which they would hide each other."""


class OneMethodFigures:
    """Draws a figure of each method, one after another in the same axes.

    A study has dozens of methods, and to create axes with their ticks takes as long as to draw them. A figure is valid
    until the next one of its kind is drawn.
    """

    def learning(self, contender: Contender) -> Figure:
        """Draw losses and balanced accuracy on source validation images by epoch; dots mark the chosen epochs."""
        figure = _cleared(self._learning)
        losses, accuracy = figure.axes
        colour = contender.style.light
        _draw_curves(losses, contender, "train_classification_loss", color=MUTED.light, linestyle=":")
        for axes, name in ((losses, "source_val_loss"), (accuracy, "source_val_balanced_accuracy")):
            _draw_curves(axes, contender, name, color=colour)
            chosen = pd.concat(
                training.epochs[training.epochs["epoch"] == training.selection.epoch]
                for training in contender.trainings
            )
            axes.plot(chosen["epoch"], chosen[name], "o", color=colour, markersize=5.5)
        lay_out(figure, contender.name)
        return figure

    @cached_property
    def _learning(self) -> Figure:
        figure = Figure(figsize=(3.3, 3.5))
        losses, accuracy = figure.subplots(2, 1, sharex=True)
        losses.set(ylabel="cross-entropy")
        accuracy.set(xlabel="epoch (the first is 0)", ylabel="balanced acc.")
        accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        return figure

    def feature_plane(self, setting: Setting, shift: Shift) -> Figure:
        """Draw validation images of both domains in the first two principal components of a network's features."""
        figure = _cleared(self._plane)
        (axes,) = figure.axes
        step = -(-len(shift.labels) // MOST_POINTS)
        handles = []
        for style, points, domain in (
            (SOURCE, shift.plane.source, setting.source),
            (TARGET, shift.plane.target, setting.target),
        ):
            for label, marker, name in ((0, "o", "non-merger"), (1, "^", "merger")):
                look: dict[str, Any] = {
                    "marker": marker,
                    "color": style.light,
                    "markerfacecolor": style.light if label else "none",
                    "linewidth": 0,
                }
                if points.shape[1] == 2:
                    x, y = points[shift.labels == label][::step].T
                    axes.plot(x, y, **look, markersize=3.9, markeredgewidth=0.8, alpha=0.75, clip_on=False)
                handles.append(Line2D([], [], **look, markersize=5.5, label=f"{domain} {name}"))
        shares = [f" ({100 * share:.0f} % of the variance)" for share in shift.plane.explained] + ["", ""]
        axes.set(xlabel=f"component 1{shares[0]}", ylabel=f"component 2{shares[1]}")
        lay_out(figure, shift.contender.name, handles, handletextpad=0.2, columnspacing=1)
        return figure

    @cached_property
    def _plane(self) -> Figure:
        figure = Figure(figsize=(PANEL[0], 4.5))
        figure.subplots()
        return figure


def _cleared(figure: Figure) -> Figure:
    """Remove what was drawn in the axes and written beside them, so that they are as new."""
    for artist in [*figure.texts, *figure.legends, *(line for axes in figure.axes for line in axes.lines)]:
        artist.remove()
    for axes in figure.axes:
        axes.relim()
        axes.set(xlim=(0, 1), ylim=(0, 1))  # which axes without data keep
    for axes in figure.axes:  # after that, because limits that are set hold for all axes that share them
        axes.autoscale()
    return figure


def _draw_curves(axes: Axes, contender: Contender, name: str, **style: Any) -> None:
    """Draw a metric by epoch: that of the first training above those of the others, which are a line with gaps."""
    first, *others = (
        training.epochs[["epoch", name]].to_numpy(dtype=np.float64) for training in contender.trainings
    )
    if others:
        axes.plot(*_joined(others).T, **style, **_weight(others), linewidth=0.7, alpha=0.6)
    axes.plot(*first.T, **style, **_weight([first]), linewidth=1.5)


def _joined(curves: Sequence[Floats]) -> Floats:
    gap = np.full((1, 2), np.nan)
    return np.concatenate([part for curve in curves for part in (curve, gap)])


def _weight(curves: Sequence[Floats]) -> dict[str, Any]:
    """Mark the points of trainings of one epoch, which have no line."""
    return {"marker": "."} if min(map(len, curves)) == 1 else {}
