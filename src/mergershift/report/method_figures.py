"""Figures that compare the methods of a setting: ROC and reliability curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mergershift.evaluation.figures import (
    draw_reliability_frame,
    draw_roc_frame,
    reliability_points,
    roc_points,
)
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import MUTED, RULE
from mergershift.report.svg import panel

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
