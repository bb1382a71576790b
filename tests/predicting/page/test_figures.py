"""Distributions of a set are drawn without losing images."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from mergershift.predicting.page.figures import MEASURES, measured, probabilities, scatters
from mergershift.predicting.page.training import Range, outside
from mergershift.report.svg import embedded, style


def counts(figure: Figure) -> list[int]:
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    return [int(np.sum(patch.get_data()[0])) for patch in patches]


@pytest.mark.parametrize("threshold", [0.013, 0.252, 0.5, 0.97])
def test_every_image_is_on_its_side_of_the_threshold(threshold: float) -> None:
    values = np.append(np.random.default_rng(0).random(1000), [0, threshold, 1])
    called = int((values >= threshold).sum())
    figure = probabilities(values, threshold)
    assert counts(figure) == [len(values) - called, called]
    edges = next(patch.get_data()[1] for patch in figure.axes[0].patches if isinstance(patch, StepPatch))
    assert threshold in edges


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("ranges", [[], [Range("pristine", (0.0, 0.0, 0.2, 0.3, 1.0))]])
def test_values_beyond_the_axis_are_in_the_outermost_bins(name: str, ranges: list[Range]) -> None:
    values = np.append(np.random.default_rng(0).lognormal(size=2000), [0.0, 1e9, 1e-9])
    with style():
        figure = measured(MEASURES[name], values, ranges)
        assert counts(figure) == [len(values)]
        assert embedded(figure, "", 1).count("pristine") == len(ranges)


@pytest.mark.parametrize("values", [np.array([0.3]), np.full(5, 2.0), np.zeros(3)])
def test_equal_values_have_a_distribution(values: np.ndarray) -> None:
    for measure in MEASURES.values():
        assert counts(measured(measure, values, [])) == [len(values)]


def test_a_large_set_is_thinned_in_the_scatter_figure() -> None:
    random = np.random.default_rng(0)
    points = scatters(random.random(100_000), random.random(100_000) / 10, 0.4).axes[0].lines[0]
    assert 1000 < np.size(points.get_xdata()) <= 3000


def test_outside_means_outside_of_the_ranges_of_all_domains() -> None:
    ranges = [Range("pristine", (0, 1, 2, 3, 4)), Range("noisy", (6, 7, 8, 9, 10))]
    assert outside(np.array([-1.0, 0.0, 5.0, 7.0, 11.0]), ranges) == 0.6
    assert np.isnan(outside(np.empty(0), ranges))
    assert np.isnan(outside(np.ones(3), []))
