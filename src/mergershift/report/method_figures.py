"""Figures that compare the methods of a setting: ROC, reliability, learning curves, feature planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mergershift.evaluation.figures import (
    draw_reliability_frame,
    draw_roc_frame,
    reliability_points,
    roc_points,
)
from mergershift.report.feature_shift import Shift
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import MUTED, RULE, SOURCE, TARGET
from mergershift.report.svg import panel

MOST_POINTS = 200
"""Number of points of each domain in a feature plane above which they would hide each other."""
MOST_CURVES = 6
"""Largest number of methods whose curves can all be distinguished in one figure."""
GRID = np.linspace(0, 1, 201)
"""False positive rates at which the ROC curves of seeds are averaged."""


def roc_curves(setting: Setting) -> Figure:
    """Draw ROC curves on the target's test rows, as the mean of the seeds at equal false positive rates."""
    figure, axes = _square_panel(setting)
    draw_roc_frame(axes, RULE.light)
    for method in setting.contenders:
        curves = []
        for training in method.trainings:
            false, true = roc_points(training.target["label"], training.target["probability"])
            curves.append(np.interp(GRID, false, true))
        mean = np.mean(curves, axis=0)
        mean[0] = 0.0
        axes.plot(GRID, mean, **_stroke(setting, method))
    _legend_below(figure, axes, setting)
    return figure


def reliability_curves(setting: Setting) -> Figure:
    """Draw the share of mergers against predicted probability on the target's test rows, for all seeds together."""
    figure, axes = _square_panel(setting)
    draw_reliability_frame(axes, RULE.light)
    for method in setting.contenders:
        pooled = pd.concat([training.target for training in method.trainings])
        probability, share = reliability_points(pooled["label"], pooled["probability"])
        marker: dict[str, Any] = {}
        if method in highlighted(setting):
            marker = {"marker": method.style.marker, "markersize": 4.5}
        axes.plot(probability, share, **marker, **_stroke(setting, method))
    _legend_below(figure, axes, setting)
    return figure


def highlighted(setting: Setting) -> list[Contender]:
    """The methods that curves distinguish: all of a few, otherwise the best, source-only and the oracles."""
    if len(setting.contenders) <= MOST_CURVES:
        return list(setting.contenders)
    leading = (setting.best, setting.adapted, setting.baseline)
    return [contender for contender in setting.contenders if contender in leading or contender.is_oracle]


def learning(contender: Contender) -> Figure:
    """Draw losses and source-validation balanced accuracy by epoch, a line per seed; dots mark the chosen epochs."""
    figure = Figure(figsize=(3.3, 3.5), layout="constrained")
    losses, accuracy = figure.subplots(2, 1, sharex=True)
    for training in contender.trainings:
        epochs, first = training.epochs, training is contender.first
        weight: dict[str, Any] = {"linewidth": 1.5 if first else 0.7, "alpha": 1.0 if first else 0.6}
        if len(epochs) == 1:  # which has no line
            weight |= {"marker": "."}
        losses.plot(
            epochs["epoch"], epochs["train_classification_loss"], color=MUTED.light, linestyle=":", **weight
        )
        losses.plot(epochs["epoch"], epochs["source_val_loss"], color=contender.style.light, **weight)
        accuracy.plot(
            epochs["epoch"], epochs["source_val_balanced_accuracy"], color=contender.style.light, **weight
        )
        chosen = epochs[epochs["epoch"] == training.selection.epoch]
        for axes, name in ((losses, "source_val_loss"), (accuracy, "source_val_balanced_accuracy")):
            axes.plot(chosen["epoch"], chosen[name], "o", color=contender.style.light, markersize=5.5)
    losses.set(title=contender.name, ylabel="cross-entropy")
    accuracy.set(xlabel="epoch (the first is 0)", ylabel="balanced acc.")
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
    figure.align_ylabels()
    return figure


def feature_plane(setting: Setting, shift: Shift) -> Figure:
    """Draw source and target validation images in the first two joint principal components of a network's features."""
    figure, axes = panel(height=4.5)
    step = -(-len(shift.labels) // MOST_POINTS)
    for style, points in ((SOURCE, shift.plane.source), (TARGET, shift.plane.target)):
        for label, marker in ((0, "o"), (1, "^")):
            chosen = points[shift.labels == label][::step]
            if points.shape[1] == 2:
                axes.scatter(
                    chosen[:, 0],
                    chosen[:, 1],
                    s=15,
                    marker=marker,
                    facecolor=style.light if label else "none",
                    edgecolor=style.light,
                    linewidth=0.8,
                    alpha=0.75,
                    clip_on=False,
                )
    shares = [f" ({100 * share:.0f} % of the variance)" for share in shift.plane.explained] + ["", ""]
    axes.set(xlabel=f"component 1{shares[0]}", ylabel=f"component 2{shares[1]}", title=shift.contender.name)
    handles = [
        Line2D(
            [],
            [],
            marker=marker,
            color=style.light,
            markerfacecolor=face,
            linewidth=0,
            markersize=5.5,
            label=text,
        )
        for style, domain in ((SOURCE, setting.source), (TARGET, setting.target))
        for marker, face, text in (
            ("o", "none", f"{domain} non-merger"),
            ("^", style.light, f"{domain} merger"),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handletextpad=0.2, columnspacing=1)
    return figure


def _stroke(setting: Setting, contender: Contender) -> dict[str, Any]:
    """How the curve of a method is drawn; those that are not distinguished are thin and grey, below the others."""
    if contender not in highlighted(setting):
        return {"color": MUTED.light, "alpha": 0.4, "linewidth": 0.8, "zorder": 1.5}
    leading = contender is setting.best or contender.is_baseline or contender.is_oracle
    return {
        "color": contender.style.light,
        "linestyle": contender.style.line,
        "linewidth": 2.0 if leading else 1.3,
        "label": contender.name,
    }


def _square_panel(setting: Setting) -> tuple[Figure, Axes]:
    """Create a figure with room for square axes and, below them, a legend of two columns."""
    entries = len(highlighted(setting)) + 1
    return panel(height=4.35 + 0.22 * -(-entries // 2))


def _legend_below(figure: Figure, axes: Axes, setting: Setting) -> None:
    handles, names = axes.get_legend_handles_labels()
    if others := len(setting.contenders) - len(handles):
        handles.append(Line2D([], [], color=MUTED.light, alpha=0.4, linewidth=0.8))
        names.append("another method" if others == 1 else f"{others} other methods")
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=2,
        handlelength=2,
        handletextpad=0.5,
        columnspacing=1,
    )
