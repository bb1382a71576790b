"""Figures of one training show what its metrics say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation.samples import part
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from mergershift.evaluation import evaluate, join
from mergershift.evaluation.figures import (
    COLOURS,
    FEWEST_IN_A_BIN,
    Heading,
    confusion,
    draw_reliability_frame,
    learning_curves,
    reliability,
    reliability_points,
    roc,
    roc_points,
)
from mergershift.evaluation.metrics import CALIBRATION_BINS, score

HEADING = Heading("mmd · two filters · pristine → noisy · seed 0", "MOCK images, not the archive")


def stated(figure: Figure) -> str:
    """All text of a figure outside its axes."""
    return "\n".join(text.get_text() for text in figure.texts)


@pytest.fixture
def predictions() -> pd.DataFrame:
    """Both domains' tests, called mergers from a probability that is not one half."""
    parts = [part("source", "pristine"), part("target", "noisy", signal=0.1)]
    return join([table.assign(threshold=0.3) for table in parts])


def test_the_confusion_figure_counts_at_the_chosen_threshold(predictions: pd.DataFrame) -> None:
    figure = confusion(predictions, HEADING)
    for axes, role in zip(figure.axes, ("source", "target"), strict=True):
        metrics = evaluate(predictions, all_rows=True)[role]["all_rows"]
        # In the order of the figure's cells: truth by row, call by column.
        expected = [int(metrics[name]["value"]) for name in ("tn", "fp", "fn", "tp")]
        assert [int(text.get_text().split("\n")[0]) for text in axes.texts] == expected
        half = predictions[predictions["role"] == role]
        assert expected[3] != ((half["probability"] >= 0.5) & (half["label"] == 1)).sum()
        assert "threshold 0.300" in axes.get_title()


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
        (axes,) = draw(predictions, HEADING).axes
        for line, (_, table) in zip(axes.lines[1:], predictions.groupby("role"), strict=True):
            x, y = points(table["label"], table["probability"])
            np.testing.assert_array_equal(line.get_xdata(), x)
            np.testing.assert_array_equal(line.get_ydata(), y)


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("images", [2, 3, 10, 300])
def test_a_roc_curve_has_the_corners_of_scikit_learns(images: int, digits: int) -> None:
    rng = np.random.default_rng(images)
    for _ in range(20):
        labels = np.r_[0, 1, rng.integers(2, size=images - 2)]
        chances = np.round(rng.random(images), digits)
        np.testing.assert_array_equal(roc_points(labels, chances), roc_curve(labels, chances)[:2])


def test_the_diagonal_is_perfect_calibration() -> None:
    axes = Figure().subplots()
    draw_reliability_frame(axes, colour="#000000")
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 0], [1, 1]])


def test_every_figure_states_the_training_and_its_images(predictions: pd.DataFrame) -> None:
    for draw in (roc, reliability, confusion):
        text = stated(draw(predictions, HEADING))
        assert HEADING.title in text
        assert HEADING.images in text
        assert f"test galaxies: 16, images in each domain: {len(predictions) // 2}" in text


def test_the_learning_curves_of_an_oracle_are_not_called_the_sources() -> None:
    columns = ("train_classification_loss", "source_val_loss", "source_val_balanced_accuracy")
    epochs = pd.DataFrame({"epoch": [0, 1], **{name: [0.6, 0.5] for name in columns}})
    for role, domain in (("source", "pristine"), ("target", "noisy")):
        figure = learning_curves(epochs, 1, HEADING, (role, domain), "4 training images")
        losses, accuracy = figure.axes
        assert accuracy.get_title() == f"validation, {role} ({domain})"
        assert losses.lines[1].get_label() == f"validation, {role} ({domain})"
        assert losses.lines[1].get_color() == accuracy.lines[0].get_color() == COLOURS[role]
        assert f"labels of the {role} ({domain}): 4 training images" in stated(figure)
        assert HEADING.images in stated(figure)
