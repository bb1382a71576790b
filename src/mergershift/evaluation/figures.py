"""Figures of one training: learning curves, ROC, reliability, confusion."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from mergershift.evaluation.metrics import CALIBRATION_BINS, Floats, calibration_bins

COLOURS = {"source": "#0072b2", "target": "#c65102"}
"""Of the domains' roles, here and on the study's page; they stay apart for colour-blind readers (Okabe & Ito 2008)."""
NEUTRAL = "#555555"
FEWEST_IN_A_BIN = 10


def learning_curves(epochs: pd.DataFrame, best_epoch: int) -> Figure:
    """Training and source-validation losses, and source-validation balanced accuracy, by epoch."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    losses.plot(epochs["epoch"], epochs["train_classification_loss"], color=NEUTRAL, label="training")
    losses.plot(
        epochs["epoch"], epochs["source_val_loss"], color=COLOURS["source"], label="source validation"
    )
    losses.set_ylabel("cross-entropy")
    losses.set_title("loss")
    accuracy.plot(epochs["epoch"], epochs["source_val_balanced_accuracy"], color=COLOURS["source"])
    accuracy.set_ylabel("balanced accuracy")
    accuracy.set_title("source validation")
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch")
        axes.axvline(best_epoch, color="#999999", linestyle=":", label="kept epoch")
        _clean(axes)
    losses.legend(frameon=False)
    return figure


def roc(predictions: pd.DataFrame) -> Figure:
    """True against false positives on the source's and the target's test images."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    draw_roc_frame(axes, colour="#bbbbbb")
    for role, part in _by_role(predictions):
        false, true = roc_points(part["label"], part["probability"])
        axes.plot(false, true, color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.legend(frameon=False, loc="lower right")
    _clean(axes)
    return figure


def reliability(predictions: pd.DataFrame) -> Figure:
    """Share of mergers against predicted probability, in the bins of the expected calibration error."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    draw_reliability_frame(axes, colour="#bbbbbb")
    for role, part in _by_role(predictions):
        probability, share = reliability_points(part["label"], part["probability"])
        axes.plot(probability, share, "o-", color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.legend(frameon=False, loc="upper left")
    _clean(axes)
    return figure


def roc_points(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    false, true, _ = roc_curve(labels, probabilities)
    return false, true


def reliability_points(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Mean probability and share of mergers in the bins of the expected calibration error that hold enough images.

    A share among fewer than `FEWEST_IN_A_BIN` images says nothing, so such bins are left out.
    """
    truth, chance = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    bins = calibration_bins(chance)
    counts, mergers, sums = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, truth, chance)
    )
    kept = counts >= FEWEST_IN_A_BIN
    return sums[kept] / counts[kept], mergers[kept] / counts[kept]


def draw_roc_frame(axes: Axes, colour: str) -> None:
    """Draw the diagonal of a coin and name the axes of an ROC figure."""
    axes.plot([0, 1], [0, 1], color=colour, linewidth=1)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def draw_reliability_frame(axes: Axes, colour: str) -> None:
    """Draw the diagonal of perfect calibration and name the axes of a reliability figure."""
    axes.plot([0, 1], [0, 1], color=colour, linewidth=1)
    axes.set(xlabel="predicted probability of a merger", ylabel="share of mergers", aspect="equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def confusion(predictions: pd.DataFrame) -> Figure:
    """Confusion counts at the chosen threshold (column `prediction`), with each row's share."""
    names = ["non-merger", "merger"]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axes, (role, part) in zip(figure.subplots(1, 2), _by_role(predictions), strict=True):
        counts = np.zeros((2, 2), dtype=int)
        np.add.at(counts, (part["label"].to_numpy(), part["prediction"].to_numpy()), 1)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (truth, call), count in np.ndenumerate(counts):
            colour = "white" if share[truth, call] > 0.6 else "black"
            text = f"{count}\n{share[truth, call]:.0%}"
            axes.text(call, truth, text, ha="center", va="center", color=colour)
        axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
        axes.set(
            xlabel="called",
            ylabel="is",
            title=f"{role} ({part['domain'].iloc[0]}), threshold {part['threshold'].iloc[0]:.2f}",
        )
    return figure


def _by_role(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(role, predictions[predictions["role"] == role]) for role in ("source", "target")]


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
