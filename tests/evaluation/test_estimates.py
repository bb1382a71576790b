"""Level, power and coverage on made-up classifiers whose true scores are known; `benchmarks/inference.py` has more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from mergershift.evaluation import bootstrap
from mergershift.evaluation.estimates import Estimate, area_under_curve, class_shares, ratio
from mergershift.evaluation.resampling import Interval
from mergershift.evaluation.score_intervals import share_interval, with_seeds

CAMERAS = 4
Floats = NDArray[np.float64]
SPREAD = float(np.sqrt(1 + 0.7**2 + 0.6**2))


class World:
    """Galaxies with several renderings, and how often methods with a given operating point are right about each."""

    def __init__(self, seed: int, mergers: int = 30, others: int = 60) -> None:
        self.rng = np.random.default_rng(seed)
        self.classes = np.repeat([1, 0], [mergers, others])
        self.images = np.full(mergers + others, float(CAMERAS))

    def draw(self) -> None:
        """Draw new galaxies."""
        self.common = self.rng.normal(size=(len(self.classes), 1))

    def accuracy(self, recall: float, specificity: float, seeds: int = 1, scatter: float = 0.0) -> Estimate:
        """Balanced accuracy of a method of which these are the true shares, if its seeds do not scatter."""
        shape = (seeds, len(self.classes), CAMERAS)
        own = np.sqrt(0.6) * self.common + np.sqrt(0.4) * self.rng.normal(size=(len(self.classes), 1))
        noise = np.hypot(0.7, 0.6) * self.rng.normal(size=shape) + scatter * self.rng.normal(
            size=(seeds, 1, 1)
        )
        bounds = SPREAD * ndtri(np.where(self.classes == 1, recall, specificity))[:, None]
        side = np.where(self.classes == 1, 1.0, -1.0)[:, None]
        right = side * (own + noise) < bounds
        return class_shares(right.sum(axis=2).astype(float), self.images, self.classes, (0.5, 0.5))


def rejected(seed: int, first: tuple[float, float], second: tuple[float, float], trials: int) -> float:
    """Share of tests that reject; also checks that the interval excludes 0 in exactly these."""
    world, hits = World(seed), 0
    for _ in range(trials):
        world.draw()
        difference = world.accuracy(*second) - world.accuracy(*first)
        interval = difference.interval
        assert (difference.p < 0.05) == (interval["low"] > 0 or interval["high"] < 0)
        hits += difference.p < 0.05
    return hits / trials


@pytest.mark.parametrize("second", [(0.58, 0.58), (0.96, 0.2), (0.2, 0.96)])
def test_the_level_is_5_per_cent_wherever_the_operating_points_are(second: tuple[float, float]) -> None:
    """A test by flips of signs rejects in 0.0 to 0.7 % here; 1 500 trials have a standard error of 0.6 %."""
    assert 0.035 <= rejected(1, (0.62, 0.54), second, 1500) <= 0.065


def test_a_better_method_at_another_operating_point_is_found() -> None:
    """A test by flips of signs finds it in less than half of the trials."""
    assert rejected(2, (0.97, 0.19), (0.68, 0.72), 500) >= 0.75


def test_methods_that_differ_in_few_galaxies_are_not_taken_for_different() -> None:
    """As many become right as wrong; without the least variance, more than a tenth of trials would claim a gain."""
    rng, classes = np.random.default_rng(3), np.repeat([1, 0], [110, 490])
    hits = np.zeros(2)
    for _ in range(500):
        change = (rng.random(600) < 0.01) * np.where(classes == 1, 1.0, -1.0)
        found = class_shares(
            (CAMERAS * change[None]).astype(np.float64), np.full(600, float(CAMERAS)), classes, (0.5, 0.5)
        )
        hits += [found.p < 0.05, replace(found, least=np.zeros(2)).p < 0.05]
    assert hits[0] / 500 < 0.05
    assert hits[1] / 500 > 0.1


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_over_galaxies_and_seeds_hold_the_true_difference(seeds: int) -> None:
    """The seeds scatter as much as the galaxies; drawing seeds with replacement covers 79 to 91 %."""
    scatter = 0.3
    wider = float(np.hypot(SPREAD, scatter) / SPREAD)
    world, hits, alone = World(4, 60, 120), 0, 0
    points = ((0.5, 0.7), (0.75, 0.6))
    truths = [np.mean([ndtr(ndtri(share) / wider) for share in point]) for point in points]
    for _ in range(400):
        world.draw()
        first, second = (world.accuracy(*point, seeds=seeds, scatter=scatter) for point in points)
        difference = second - first
        hits += difference.interval["low"] <= truths[1] - truths[0] <= difference.interval["high"]
        of_galaxies = replace(difference, by_seed=difference.by_seed.mean(keepdims=True)).interval
        alone += of_galaxies["low"] <= truths[1] - truths[0] <= of_galaxies["high"]
    assert 0.92 <= hits / 400 <= 0.985
    assert alone <= hits


def test_a_ratio_is_covered() -> None:
    world, hits, bounded = World(5), 0, 0
    for _ in range(400):
        world.draw()
        before, after, adapted = (world.accuracy(*point) for point in ((0.9, 0.85), (0.5, 0.7), (0.75, 0.7)))
        found = ratio(adapted - after, before - after)
        bounded += np.isfinite(found["low"])
        hits += found["low"] <= 0.125 / 0.275 <= found["high"]
    assert bounded > 390
    assert 0.92 <= hits / bounded <= 0.98


def test_a_ratio_to_nothing_is_undefined() -> None:
    world = World(6)
    world.draw()
    first = world.accuracy(0.7, 0.7)
    other = world.accuracy(0.7, 0.7)
    assert np.isnan(ratio(first - other, (first - first) * 2.0)["value"])


def test_one_seed_has_no_scatter_between_seeds_and_several_have_its_degrees_of_freedom() -> None:
    classes = np.repeat([1, 0], 50)
    no_galaxies = Estimate(np.array([0.5, 0.6, 0.7]), np.zeros(100), classes, np.zeros(2))
    # Three seeds of standard deviation 0.1: the standard error is 0.1 / sqrt(3), with 2 degrees of freedom.
    assert no_galaxies.freedom == pytest.approx(2)
    assert no_galaxies.interval["high"] - 0.6 == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)
    assert replace(no_galaxies, by_seed=np.array([0.6])).variances[2] == 0


def images(correct: Floats) -> Any:
    return np.full(correct.shape[1], float(CAMERAS))


@pytest.mark.parametrize(("recall", "specificity"), [(0.99, 0.99), (1.0, 0.0), (0.995, 0.02), (0.6, 0.7)])
def test_degenerate_scores_have_intervals_that_cover(recall: float, specificity: float) -> None:
    """Galaxies of which all four images are right or all wrong; percentiles cover 1 to 75 % of the first three."""
    rng, classes = np.random.default_rng(7), np.repeat([1, 0], [30, 60])
    hits = 0
    for _ in range(400):
        right = rng.random(90) < np.where(classes == 1, recall, specificity)
        correct = CAMERAS * right[None].astype(float)
        found = share_interval(correct, images(correct), classes, (0.5, 0.5))
        hits += found["low"] <= (recall + specificity) / 2 <= found["high"]
    assert hits / 400 >= 0.93


def test_a_network_that_says_the_same_of_all_images_is_not_certain() -> None:
    labels, galaxies = np.repeat([1, 0], [120, 240]), np.arange(360) // 4
    found = bootstrap(labels, np.full(360, 0.7), galaxies, 50)
    balanced = found["balanced_accuracy"]
    assert balanced["value"] == 0.5
    assert 0.42 < balanced["low"] < 0.49
    assert 0.51 < balanced["high"] < 0.57
    assert found["recall"]["high"] == 1
    assert found["recall"]["low"] == pytest.approx(0.88, abs=0.01)
    assert [found["tp"][end] / 120 for end in ("low", "high")] == pytest.approx(
        [found["recall"]["low"], found["recall"]["high"]]
    )
    assert np.isnan(found["brier"]["low"]), "replicates without any scatter are no interval"


def test_near_perfect_areas_have_intervals_that_cover() -> None:
    """Percentiles cover 58 % here."""
    rng, classes = np.random.default_rng(8), np.repeat([1, 0], [30, 60])
    members, hits = np.repeat(np.arange(90), 2), 0
    truth = classes[members]
    area = float(ndtr(5 / np.sqrt(2)))
    for trial in range(150):
        logits = rng.normal(size=90)[members] + 5 * truth
        found = bootstrap(truth, ndtr(logits - 2.5), members, 5, rng_seed=trial)["auc"]
        hits += found["low"] <= area <= found["high"]
    assert hits / 150 >= 0.93


def test_the_area_of_ties_counts_one_half() -> None:
    truth = np.array([True, True, False, False])
    found = area_under_curve(np.array([[0.5, 0.9, 0.5, 0.1]]), truth, np.arange(4), np.array([1, 1, 0, 0]))
    assert found.value == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert found.by_galaxy.sum() == pytest.approx(0)


def test_seeds_widen_an_interval_and_stay_in_the_range_of_the_score() -> None:
    alone = Interval(value=0.9, low=0.85, high=0.94)
    assert with_seeds(alone, np.array([0.9]), 90, 1.0) == alone
    assert with_seeds(alone, np.array([0.9, 0.9]), 90, 1.0) == alone
    wide = with_seeds(alone, np.array([0.8, 0.9, 1.0]), 90, 1.0)
    assert wide["low"] < 0.75
    assert wide["high"] == 1
