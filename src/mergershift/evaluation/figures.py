"""Figures of one training: learning curves, ROC, reliability, confusion."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

# Colours that stay apart for colour-blind readers (Okabe & Ito 2008).
COLOURS = {"source": "#0072B2", "target": "#D55E00"}
NEUTRAL = "#555555"


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
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for role, part in _by_role(predictions):
        false, true, _ = roc_curve(part["label"], part["probability"])
        axes.plot(false, true, color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axes.legend(frameon=False, loc="lower right")
    _clean(axes)
    return figure


def reliability(predictions: pd.DataFrame) -> Figure:
    """Share of mergers against predicted probability, in ten bins."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
    for role, part in _by_role(predictions):
        share, probability = calibration_curve(part["label"], part["probability"], n_bins=10)
        axes.plot(probability, share, "o-", color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.set(xlabel="predicted probability of a merger", ylabel="share of mergers", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(frameon=False, loc="upper left")
    _clean(axes)
    return figure


def confusion(predictions: pd.DataFrame) -> Figure:
    """Confusion counts at probability 0.5, with each row's share."""
    names = ["non-merger", "merger"]
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    for axes, (role, part) in zip(figure.subplots(1, 2), _by_role(predictions), strict=True):
        called = (part["probability"] >= 0.5).to_numpy().astype(int)
        counts = np.zeros((2, 2), dtype=int)
        np.add.at(counts, (part["label"].to_numpy(), called), 1)
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (truth, call), count in np.ndenumerate(counts):
            colour = "white" if share[truth, call] > 0.6 else "black"
            text = f"{count}\n{share[truth, call]:.0%}"
            axes.text(call, truth, text, ha="center", va="center", color=colour)
        axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
        axes.set(xlabel="called", ylabel="is", title=f"{role} ({part['domain'].iloc[0]})")
    return figure


def _by_role(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(role, predictions[predictions["role"] == role]) for role in ("source", "target")]


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
