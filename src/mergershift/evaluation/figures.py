"""Figures of one training: learning curves, ROC curves, reliability diagrams and confusion matrices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from mergershift.evaluation.metrics import CALIBRATION_BINS, Floats, calibration_bins

COLOURS = {"source": "#0072b2", "target": "#c65102"}
"""Colours of the roles of the domains, also on the study's page; colour-blind readers can distinguish them (Okabe &
Ito 2008)."""
NEUTRAL = "#555555"
DPI = 150
"""Resolution of the figures of a training, in dots per inch."""
FEWEST_IN_A_BIN = 10
"""Smallest number of images for which a bin is drawn in a reliability diagram."""


@dataclass(frozen=True)
class Heading:
    """What every figure of a training states, so that a copy of it can be understood without the training."""

    title: str
    """Method, filters, direction and seed, for instance ``mmd · two · pristine → noisy · seed 0``."""
    images: str
    """Whose images they are, a mock's or the archive's."""

    def put_on(self, figure: Figure, detail: str) -> Figure:
        """Write the title above the figure, and the images' origin and `detail` below it."""
        figure.suptitle(self.title, fontsize=9, fontweight="bold", x=0.01, ha="left")
        figure.supxlabel(f"{self.images}\n{detail}", fontsize=7, color=NEUTRAL, x=0.01, ha="left", ma="left")
        return figure


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a figure to a PNG file; `Figure.savefig` would lay it out and draw it twice."""
    figure.set_dpi(dpi)
    FigureCanvasAgg(figure).print_png(path)


def learning_curves(
    epochs: pd.DataFrame, best_epoch: int, heading: Heading, labelled: tuple[str, str], sizes: str
) -> Figure:
    """Draw the training and validation losses and the validation balanced accuracy over the epochs.

    Args:
        epochs: metrics by epoch; the columns are called the source's, also for an oracle.
        best_epoch: the epoch to mark.
        heading: what the figure states.
        labelled: role and domain of the labelled images, which an oracle takes from the target.
        sizes: numbers of images for training and validation.
    """
    role, domain = labelled
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    validation, colour = f"validation, {role} ({domain})", COLOURS[role]
    # With markers, because a training of one epoch has no line.
    losses.plot(epochs["epoch"], epochs["train_classification_loss"], ".-", color=NEUTRAL, label="training")
    losses.plot(epochs["epoch"], epochs["source_val_loss"], ".-", color=colour, label=validation)
    losses.set_ylabel("cross-entropy")
    losses.set_title("loss", fontsize=10)
    accuracy.plot(epochs["epoch"], epochs["source_val_balanced_accuracy"], ".-", color=colour)
    accuracy.set_ylabel("balanced accuracy")
    accuracy.set_title(validation, fontsize=10)
    for axes in (losses, accuracy):
        axes.set_xlabel("epoch (the first is 0)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.axvline(best_epoch, color="#999999", linestyle=":", label=f"kept epoch {best_epoch}")
        _clean(axes)
    losses.legend(frameon=False, fontsize=8)
    return heading.put_on(figure, f"labels of the {role} ({domain}): {sizes}")


def roc(predictions: pd.DataFrame, heading: Heading) -> Figure:
    """Draw the ROC curves, true against false positive rate, of the source's and the target's test images."""
    figure = Figure(figsize=(4.2, 4.5), layout="constrained")
    axes = figure.subplots()
    draw_roc_frame(axes, colour="#bbbbbb")
    for role, part in _by_role(predictions):
        false, true = roc_points(part["label"], part["probability"])
        axes.plot(false, true, color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.legend(frameon=False, loc="lower right")
    _clean(axes)
    return heading.put_on(figure, _tested(predictions))


def reliability(predictions: pd.DataFrame, heading: Heading) -> Figure:
    """Draw the share of mergers against the predicted probability, in the bins of the expected calibration error."""
    figure = Figure(figsize=(4.2, 4.5), layout="constrained")
    axes = figure.subplots()
    draw_reliability_frame(axes, colour="#bbbbbb")
    for role, part in _by_role(predictions):
        probability, share = reliability_points(part["label"], part["probability"])
        axes.plot(probability, share, "o-", color=COLOURS[role], label=f"{role} ({part['domain'].iloc[0]})")
    axes.legend(frameon=False, loc="upper left")
    _clean(axes)
    return heading.put_on(figure, f"{_tested(predictions)}, bins with at least {FEWEST_IN_A_BIN} images")


def roc_points(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Return the false and true positive rates at the corners of the ROC curve, from (0, 0) to (1, 1).

    A rate is NaN if no image has that class.
    """
    truth, chance = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-chance, kind="stable")
    ranked = chance[order]
    lowest_of_equal = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    counts = np.cumsum([1 - truth[order], truth[order]], axis=1)[:, lowest_of_equal]
    # A curve that goes on in the same direction has no corner.
    turns = np.r_[True, np.diff(counts, 2).any(axis=0), True][-counts.shape[1] :]
    points = np.concatenate([np.zeros((2, 1), np.int64), counts[:, turns]], axis=1)
    with np.errstate(invalid="ignore"):
        false, true = points / points[:, -1:]
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


def confusion(predictions: pd.DataFrame, heading: Heading) -> Figure:
    """Draw the confusion counts at the chosen threshold (column `prediction`), with their shares of each true class."""
    names = ["non-merger", "merger"]
    figure = Figure(figsize=(7, 3.6), layout="constrained")
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
        )
        threshold = part["threshold"].iloc[0]
        axes.set_title(f"{role} ({part['domain'].iloc[0]}), threshold {threshold:.3f}", fontsize=10)
    return heading.put_on(figure, f"{_tested(predictions)}; shares are of the true class")


def _by_role(predictions: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(role, predictions[predictions["role"] == role]) for role in ("source", "target")]


def _tested(predictions: pd.DataFrame) -> str:
    parts = [part for _, part in _by_role(predictions) if len(part)]
    sizes = list(dict.fromkeys((part["galaxy"].nunique(), len(part)) for part in parts))
    if len(sizes) == 1:
        ((galaxies, images),) = sizes
        return f"test galaxies: {galaxies}, images in each domain: {images}"
    return "test: " + ", ".join(
        f"{galaxies} galaxies in {images} {role} images"
        for role, (galaxies, images) in zip(("source", "target"), sizes, strict=True)
    )


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
