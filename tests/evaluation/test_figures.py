"""Figures of one training show what its metrics say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation.samples import part
from matplotlib.figure import Figure

from mergershift.evaluation import evaluate, join
from mergershift.evaluation.figures import (
    FEWEST_IN_A_BIN,
    confusion,
    draw_reliability_frame,
    reliability,
    reliability_points,
    roc,
    roc_points,
)
from mergershift.evaluation.metrics import CALIBRATION_BINS, score


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Both domains' tests, called mergers from a probability that is not one half."""
    parts = [part("source", "pristine"), part("target", "noisy", signal=0.1)]
    return join([table.assign(threshold=0.3) for table in parts])


def test_the_confusion_figure_counts_at_the_chosen_threshold(predictions: pd.DataFrame) -> None:
    figure = confusion(predictions)
    for axes, role in zip(figure.axes, ("source", "target"), strict=True):
        metrics = evaluate(predictions, all_rows=True)[role]["all_rows"]
        # In the order of the figure's cells: truth by row, call by column.
        expected = [int(metrics[name]["value"]) for name in ("tn", "fp", "fn", "tp")]
        assert [int(text.get_text().split("\n")[0]) for text in axes.texts] == expected
        half = predictions[predictions["role"] == role]
        assert expected[3] != ((half["probability"] >= 0.5) & (half["label"] == 1)).sum()
        assert "threshold 0.30" in axes.get_title()


def test_reliability_uses_the_bins_of_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    chance = rng.random(4000)
    labels = (rng.random(4000) < chance**2).astype(int)
    probability, share = reliability_points(labels, chance)
    assert len(probability) == CALIBRATION_BINS
    assert (np.floor(probability * CALIBRATION_BINS) == np.arange(CALIBRATION_BINS)).all()
    counts = np.bincount((chance * CALIBRATION_BINS).astype(int))
    error = (counts / counts.sum() * np.abs(probability - share)).sum()
    assert error == pytest.approx(score(labels, chance)["ece"])


def test_a_bin_with_few_images_is_not_shown() -> None:
    chance = np.concatenate([np.full(FEWEST_IN_A_BIN, 0.1), np.full(FEWEST_IN_A_BIN - 1, 0.9)])
    probability, share = reliability_points(np.zeros(len(chance)), chance)
    assert probability == pytest.approx([0.1])
    assert share == pytest.approx([0.0])


def test_roc_and_reliability_are_drawn_from_the_same_points_as_anywhere(predictions: pd.DataFrame) -> None:
    for draw, points in ((roc, roc_points), (reliability, reliability_points)):
        (axes,) = draw(predictions).axes
        for line, (_, table) in zip(axes.lines[1:], predictions.groupby("role"), strict=True):
            x, y = points(table["label"], table["probability"])
            np.testing.assert_array_equal(line.get_xdata(), x)
            np.testing.assert_array_equal(line.get_ydata(), y)


def test_the_diagonal_is_perfect_calibration() -> None:
    axes = Figure().subplots()
    draw_reliability_frame(axes, colour="#000000")
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [1, 1]])
