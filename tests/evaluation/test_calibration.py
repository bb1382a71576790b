"""Tests of the temperature, which is recovered if it is known and at its bounds if there is none."""

import numpy as np
import pytest
from scipy.special import expit

from mergershift.evaluation import best_temperature, negative_log_likelihood
from mergershift.evaluation.calibration import HIGHEST, LOWEST


def drawn(count, temperature, seed=0):
    """Labels drawn from the true log odds, and log odds that are too large by a factor of `temperature`."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 2, count)
    return random.uniform(size=count) < expit(true), true * temperature


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_recovered(temperature):
    labels, odds = drawn(60_000, temperature)
    assert best_temperature(labels, odds, balanced=False) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("balanced", [False, True])
def test_it_is_the_minimum_of_the_cross_entropy_written_out(balanced):
    labels, odds = drawn(300, 2.0)
    labels[:100] = 0
    found = best_temperature(labels, odds, balanced=balanced)

    def risk(temperature):
        losses = np.logaddexp(0, np.where(labels, -odds, odds) / temperature)
        return (losses[labels].mean() + losses[~labels].mean()) / 2 if balanced else losses.mean()

    grid = np.geomspace(LOWEST, HIGHEST, 4001)
    assert found == pytest.approx(min(grid, key=risk), rel=2e-3)
    assert negative_log_likelihood(labels, odds, found, balanced=balanced) == pytest.approx(risk(found))


def test_repeating_one_class_changes_only_the_unbalanced_temperature():
    labels, odds = drawn(500, 2.0)
    more, more_odds = np.r_[labels, labels[labels]], np.r_[odds, odds[labels]]
    samples = ((labels, odds), (more, more_odds))
    balanced = [best_temperature(*sample, balanced=True) for sample in samples]
    plain = [best_temperature(*sample, balanced=False) for sample in samples]
    assert balanced[0] == pytest.approx(balanced[1], rel=1e-5)
    assert plain[0] != pytest.approx(plain[1], rel=1e-3)


def test_the_bounds_are_returned_if_there_is_no_optimum():
    labels, odds = np.array([0, 0, 1, 1]), np.array([-3.0, -2.0, 2.0, 3.0])
    assert best_temperature(labels, odds, balanced=True) == pytest.approx(LOWEST)
    assert best_temperature(labels, -odds, balanced=True) == pytest.approx(HIGHEST)


@pytest.mark.parametrize(
    ("labels", "odds"), [([1, 1], [0.0, 1.0]), ([0, 1], [np.inf, 1.0]), ([0, 1], [0.0]), ([0, 2], [0.0, 1.0])]
)
def test_invalid_values_are_refused(labels, odds):
    with pytest.raises(ValueError, match=r"labels|images|log odds"):
        best_temperature(labels, odds, balanced=True)
