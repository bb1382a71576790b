"""Figures of one training: learning curves, ROC curves, reliability diagrams and confusion matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from mergershift.evaluation.metrics import CALIBRATION_BINS, Floats, calibration_bins

COLOURS = {"source": "#0072b2", "target": "#c65102"}
"""Colours of the roles of the domains, also on the study's page; colour-blind readers can distinguish them (Okabe &
Ito 2008)."""
NEUTRAL = "#555555"
FEWEST_IN_A_BIN = 10
"""Smallest number of images for which a bin is drawn in a reliability diagram."""


def learning_curves(epochs: pd.DataFrame, best_epoch: int) -> Figure:
    """Draw the training and source-validation losses and the source-validation balanced accuracy over the epochs."""
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
    """Draw the ROC curves, true against false positive rate, of the source's and the target's test images."""
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
    """Draw the share of mergers against the predicted probability, in the bins of the expected calibration error."""
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
    """Return the false and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    false, true, _ = roc_curve(labels, probabilities)
    return false, true


def reliability_points(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Return the mean probability and the share of mergers in the bins of the expected calibration error.

    Bins with fewer than `FEWEST_IN_A_BIN` images are omitted, because their shares are too uncertain.
    """
    truth, chance = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    bins = calibration_bins(chance)
    counts, mergers, sums = (
        np.bincount(bins, weights, CALIBRATION_BINS) for weights in (None, truth, chance)
    )
    kept = counts >= FEWEST_IN_A_BIN
    return sums[kept] / counts[kept], mergers[kept] / counts[kept]


def draw_roc_frame(axes: Axes, colour: str) -> None:
    """Draw the diagonal of random guessing and label the axes of an ROC figure."""
    axes.plot([0, 1], [0, 1], color=colour, linewidth=1)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def draw_reliability_frame(axes: Axes, colour: str) -> None:
    """Draw the diagonal of perfect calibration and label the axes of a reliability diagram."""
    axes.plot([0, 1], [0, 1], color=colour, linewidth=1)
    axes.set(xlabel="predicted probability of a merger", ylabel="share of mergers", aspect="equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def confusion(predictions: pd.DataFrame) -> Figure:
    """Draw the confusion counts at the chosen threshold (column `prediction`), with their shares of each true class."""
    names = ["non-merger", "merger"]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axes, (role, part) in zip(figure.subplots(1, 2), _by_role(predictions), strict=True):
        counts = np.zeros((2, 2), dtype=int)
        np.add.at(counts, (part["label"].to_numpy(), part["prediction"].to_numpy()), 1)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (truth, predicted), count in np.ndenumerate(counts):
            colour = "white" if share[truth, predicted] > 0.6 else "black"
            text = f"{count}\n{share[truth, predicted]:.0%}"
            axes.text(predicted, truth, text, ha="center", va="center", color=colour)
        axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
        axes.set(
            xlabel="predicted class",
            ylabel="true class",
            title=f"{role} ({part['domain'].iloc[0]})\nthreshold {part['threshold'].iloc[0]:.2f}",
        )
    return figure


def _by_role(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(role, predictions[predictions["role"] == role]) for role in ("source", "target")]


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
