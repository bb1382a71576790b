"""Figures of all trainings of one filter set and direction, for `dvc plots show`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mergershift.evaluation.figures import COLOURS, NEUTRAL

COLUMNS = 4
"""Panels in a row."""


def accuracies(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the balanced accuracy on the test images of both domains by method, with 95 % intervals.

    `rows` has the columns method, role, domain, value, low and high; the methods are drawn from the top in their order.
    """
    methods = list(dict.fromkeys(rows["method"]))[::-1]
    figure = Figure(figsize=(7.5, 1.6 + 0.32 * len(methods)), layout="constrained")
    axes = figure.subplots()
    for role, offset in (("source", 0.13), ("target", -0.13)):
        part = rows[rows["role"] == role]
        places = [methods.index(method) + offset for method in part["method"]]
        colour, label = COLOURS[role], f"{role} ({part['domain'].iloc[0]})"
        axes.hlines(places, part["low"], part["high"], colors=colour, linewidth=2)
        axes.plot(part["value"], places, "o", color=colour, label=label)
    axes.axvline(0.5, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(methods)), methods)
    # The same range for every version of a study, so that DVC can show two of them side by side.
    axes.set(xlim=(min(0.4, rows["low"].min() - 0.02), 1.01), ylim=(-0.6, len(methods) - 0.4))
    axes.set_xlabel("balanced accuracy on test images, with 95 % intervals")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title)
    return figure


def learning_curves(trainings: Mapping[str, Sequence[tuple[pd.DataFrame, int]]], title: str) -> Figure:
    """Draw the training and validation losses over the epochs, in a panel for each method with a line for each seed.

    `trainings` holds, by the name of the method, each seed's metrics by epoch and its chosen epoch, which a dot marks.
    """
    columns = min(COLUMNS, len(trainings))
    rows = math.ceil(len(trainings) / columns)
    figure = Figure(figsize=(max(3.2 * columns, 6.4), 1.3 + 2.3 * rows))
    panels = figure.subplots(
        rows, columns, squeeze=False, sharex=True, sharey=True, gridspec_kw=_margins(figure, rows, columns)
    )
    for axes, (name, seeds) in zip(panels.flat, trainings.items(), strict=False):
        _draw_losses(axes, seeds)
        axes.set_title(name, fontsize="medium")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(labelbottom=True)
    for axes in panels.flat[len(trainings) :]:
        axes.set_visible(False)
    for axes in panels[:, 0]:
        axes.set_ylabel("cross-entropy")
    for column in range(columns):
        panels[(len(trainings) - 1 - column) // columns, column].set_xlabel("epoch (the first is 0)")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    height = figure.get_figheight()
    figure.legend(
        handles, labels, loc="lower center", ncols=3, frameon=False, bbox_to_anchor=(0.5, 0.05 / height)
    )
    figure.suptitle(title, y=1 - 0.12 / height, va="top")
    return figure


def _margins(figure: Figure, rows: int, columns: int) -> dict[str, float]:
    """Places of panels with a title, numbers below and a common scale, between a title and a legend.

    Matplotlib's own layout would measure every text of a hundred panels, which takes longer than to draw them.
    """
    width, height = figure.get_size_inches()
    left, right, below, above, between, beside = 0.75, 0.2, 1.0, 0.75, 0.55, 0.15
    panel_width = (width - left - right - (columns - 1) * beside) / columns
    panel_height = (height - below - above - (rows - 1) * between) / rows
    return {
        "left": left / width,
        "right": 1 - right / width,
        "bottom": below / height,
        "top": 1 - above / height,
        "wspace": beside / panel_width,
        "hspace": between / panel_height,
    }


def _draw_losses(axes: Axes, seeds: Sequence[tuple[pd.DataFrame, int]]) -> None:
    """Draw each loss as one line with a gap after each seed, since a line of its own for each takes far longer."""
    names = ["epoch", "train_classification_loss", "source_val_loss"]
    gap = np.full((1, len(names)), np.nan)
    parts = [part for epochs, _ in seeds for part in (epochs[names].to_numpy(dtype=np.float64), gap)]
    epoch, *losses = np.concatenate(parts).T
    labels = ("training", "validation, labelled domain")
    for values, colour, label in zip(losses, (NEUTRAL, COLOURS["source"]), labels, strict=True):
        # With markers, because a training of one epoch has no line.
        axes.plot(epoch, values, ".-", color=colour, linewidth=1, markersize=3, label=label)
    chosen = [
        epochs.loc[epochs["epoch"] == chosen, names].to_numpy(dtype=np.float64) for epochs, chosen in seeds
    ]
    place, _, height = np.concatenate(chosen).T
    axes.plot(place, height, "o", color=COLOURS["source"], label="chosen epoch")
    axes.spines[["top", "right"]].set_visible(False)
