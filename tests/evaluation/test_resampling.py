import numpy as np
import pytest

from mergershift.evaluation import bootstrap, score
from mergershift.evaluation.resampling import draws, galaxy_members, percentile_interval

CLASSES = np.array([1, 1, 1, 0, 0, 0, 0, 0])


def all_draws(images: int, resamples: int = 400, rng_seed: int = 0) -> np.ndarray:
    return np.concatenate(list(draws(CLASSES, images, resamples, rng_seed)))


def test_the_number_of_galaxies_drawn_is_that_of_the_class() -> None:
    weights = all_draws(images=20)
    assert weights.shape == (400, 8)
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3:].sum(axis=1) == 5).all()
    # With replacement, a galaxy is missing from (1 - 1/n)^n of the draws.
    assert np.mean(weights[:, :3] == 0) == pytest.approx((2 / 3) ** 3, abs=0.03)


def test_the_same_arguments_give_the_same_draws_in_parts_of_limited_size() -> None:
    np.testing.assert_array_equal(all_draws(20), all_draws(20))
    assert not np.array_equal(all_draws(20), all_draws(20, rng_seed=1))
    for weights in draws(CLASSES, 20, 10, 0):
        with pytest.raises(ValueError, match="read-only"):  # others are given the same draws
            weights += 1
    sizes = [len(weights) for weights in draws(CLASSES, 1_000_000, 10, 0)]
    assert sum(sizes) == 10
    assert max(sizes) * 1_000_000 <= 4_000_000


def test_members_are_indices_of_the_sorted_galaxies() -> None:
    members, classes = galaxy_members(np.array([True, False, True, False]), [9, -1, 9, 4])
    assert members.tolist() == [2, 0, 2, 1]
    assert classes.tolist() == [0, 0, 1]


def test_undefined_replicates_are_excluded_from_the_interval() -> None:
    found = percentile_interval(50.0, np.r_[np.arange(101.0), np.full(7, np.nan)])
    assert found == {"value": 50.0, "low": pytest.approx(2.5), "high": pytest.approx(97.5)}
    assert np.isnan(percentile_interval(np.nan, np.arange(9.0))["low"])


def test_each_seed_may_have_its_own_threshold() -> None:
    rng = np.random.default_rng(0)
    labels, galaxies = np.repeat([1, 0], 60), np.arange(120) // 2
    probabilities = np.clip(rng.random((2, 120)) + 0.2 * labels, 0, 1)
    pairs = list(zip(probabilities, (0.3, 0.8), strict=True))
    found = bootstrap(labels, probabilities, galaxies, 300, threshold=[0.3, 0.8])
    expected = np.mean([score(labels, p, t)["balanced_accuracy"] for p, t in pairs])
    assert found["balanced_accuracy"]["value"] == pytest.approx(expected)
    # Rescaling the probabilities so that the threshold becomes 0.5 must not change any decision.
    stretched = np.stack([np.interp(p, [0, t, 1], [0, 0.5, 1]) for p, t in pairs])
    again = bootstrap(labels, stretched, galaxies, 300)
    for name in ("accuracy", "balanced_accuracy", "recall", "f1", "auc"):
        assert found[name] == pytest.approx(again[name])
    one_for_all = bootstrap(labels, probabilities, galaxies, 300, threshold=0.5)
    assert bootstrap(labels, probabilities, galaxies, 300) == one_for_all != found


def test_a_wrong_number_of_thresholds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"threshold of shape \(3,\), expected \(\) or \(2,\)"):
        bootstrap([0, 1], [[0.1, 0.2], [0.1, 0.9]], [1, 2], 10, threshold=[0.1, 0.2, 0.3])
