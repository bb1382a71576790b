"""Figures of a single method, all of which are drawn in the same axes, with texts at places of their own."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from report.small_study import contender, setting

from mergershift.evaluation.embeddings import Plane
from mergershift.report.feature_shift import Shift
from mergershift.report.one_method import OneMethodFigures
from mergershift.report.study_results import Contender
from mergershift.report.svg import mark, style

LONG = "MMD of the same galaxies in both domains (target labels)"


@pytest.fixture(autouse=True)
def _styled():
    with style():
        yield


def trained(name: str, epochs: int = 4, seeds: int = 3, scale: float = 1.0) -> Contender:
    """A method with random learning curves, its losses times `scale`."""
    rng = np.random.default_rng(epochs)
    trainings: Any = tuple(
        SimpleNamespace(
            epochs=pd.DataFrame(
                {
                    "epoch": range(epochs),
                    "train_classification_loss": scale * rng.random(epochs),
                    "source_val_loss": scale * rng.random(epochs),
                    "source_val_balanced_accuracy": rng.random(epochs),
                }
            ),
            selection=SimpleNamespace(epoch=epochs - 1),
        )
        for _ in range(seeds)
    )
    return replace(contender("mmd"), name=name, trainings=trainings)


def shift(name: str, scale: float = 1.0, dimensions: int = 2) -> Shift:
    """A method with random points in its feature plane."""
    points = scale * np.random.default_rng(0).normal(size=(2, 30, dimensions))
    plane = Plane(points[0], points[1], np.full(dimensions, 0.4))
    return Shift(trained(name), (0.1,), (1.0,), plane, np.arange(30) % 2)


def feature_plane(figures: OneMethodFigures, of: Shift) -> Figure:
    return figures.feature_plane(setting([of.contender]), of)


def as_svg(figure: Figure) -> str:
    text = StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue()


@pytest.mark.parametrize("name", ["MMD", LONG])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 20_000.0])
def test_no_text_is_cut_off_or_overlaps_another_one(name: str, scale: float) -> None:
    figures = OneMethodFigures()
    for figure in (
        figures.learning(trained(name, scale=scale)),
        feature_plane(figures, shift(name, scale=scale)),
    ):
        mark(figure, "MOCK IMAGES")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
        for axis in (*(axes.yaxis for axes in figure.axes), figure.axes[-1].xaxis):
            low, high = axis.get_view_interval()
            numbers = zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
            texts += [axis.label, *(number for place, number in numbers if low <= place <= high)]
        boxes = {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}
        assert name in boxes
        width, height = canvas.get_width_height()
        for text, box in boxes.items():
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= width, text
            assert box.y1 <= height, text
            for other, its in boxes.items():
                assert other == text or not box.padded(-1).overlaps(its.padded(-1)), (text, other)


def test_figures_in_axes_that_were_used_before_are_as_new() -> None:
    few, many = trained("few", epochs=1), trained("many", epochs=30, scale=300)
    wide, flat = shift("wide", scale=1000), shift("flat", dimensions=1)
    used = OneMethodFigures()
    for method in (few, many, few, many):
        assert as_svg(used.learning(method)) == as_svg(OneMethodFigures().learning(method))
    for one in (wide, flat, shift("near"), wide):
        assert as_svg(feature_plane(used, one)) == as_svg(feature_plane(OneMethodFigures(), one))


@pytest.mark.parametrize("epochs", [2, 30])
def test_all_that_is_drawn_lies_within_the_axes(epochs: int) -> None:
    used = OneMethodFigures()
    for scale in (1.0, 300.0, 0.01):
        figures = used.learning(trained("MMD", epochs, scale=scale)), feature_plane(used, shift("MMD", scale))
        for figure in figures:
            FigureCanvasAgg(figure).draw()
            for axes in figure.axes:
                (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
                drawn = np.concatenate([np.asarray(line.get_xydata()) for line in axes.lines])
                ends = np.nanmin(drawn, axis=0), np.nanmax(drawn, axis=0)
                assert left <= ends[0][0] < ends[1][0] <= right
                assert low <= ends[0][1] < ends[1][1] <= high
                assert right - left < 1.2 * (ends[1][0] - ends[0][0]), "and fills them"
                assert high - low < 1.2 * (ends[1][1] - ends[0][1])


def test_every_seed_has_its_curve_and_its_chosen_epoch() -> None:
    losses, accuracy = OneMethodFigures().learning(trained("MMD", epochs=4, seeds=3)).axes
    for axes, lines in ((losses, 5), (accuracy, 3)):
        assert len(axes.lines) == lines
        others, first, dots = axes.lines[-3:]
        assert np.isfinite(np.asarray(others.get_ydata())).sum() == 2 * 4
        assert np.isnan(np.asarray(others.get_ydata())).sum() == 2, "a gap after each of them"
        assert np.size(first.get_ydata()) == 4
        assert np.array_equal(dots.get_xdata(), [3, 3, 3])


def test_a_training_of_one_epoch_is_drawn_as_a_point() -> None:
    losses, _ = OneMethodFigures().learning(trained("MMD", epochs=1, seeds=2)).axes
    assert {line.get_marker() for line in losses.lines} == {".", "o"}
