import time

import numpy as np
import pytest

from mergershift.evaluation import Interval, bootstrap, score


def forecasts(rng: np.random.Generator, mergers: int, others: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.r_[np.ones(mergers, dtype=int), np.zeros(others, dtype=int)]
    return labels, np.clip(rng.beta(2, 2, len(labels)) * 0.7 + 0.3 * labels * rng.random(len(labels)), 0, 1)


def width(interval: Interval) -> float:
    return interval["high"] - interval["low"]


def test_value_is_the_score_and_is_within_its_interval() -> None:
    labels, probabilities = forecasts(np.random.default_rng(0), 120, 200)
    found = bootstrap(labels, probabilities, np.arange(320) // 4, resamples=400)
    assert {name: interval["value"] for name, interval in found.items()} == score(labels, probabilities)
    assert all(interval["low"] <= interval["value"] <= interval["high"] for interval in found.values())
    assert all(width(interval) > 0 for interval in found.values())


def test_the_same_seed_gives_the_same_interval() -> None:
    labels, probabilities = forecasts(np.random.default_rng(1), 40, 60)
    first, again, other = (
        bootstrap(labels, probabilities, np.arange(100), 200, rng_seed=s) for s in (3, 3, 4)
    )
    assert first == again
    assert first["brier"] != other["brier"]


def test_width_is_binomial_if_every_image_shows_a_different_galaxy() -> None:
    labels = np.r_[np.ones(400, dtype=int), np.zeros(100, dtype=int)]
    probabilities = np.where(np.arange(500) % 4 == 0, 0.1, 0.9)
    found = bootstrap(labels, probabilities, np.arange(500))
    recall = found["recall"]
    assert recall["value"] == 0.75
    assert width(recall) == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.08)
    # The class sizes are fixed, so the variances of the classes add up.
    specificity_variance = 0.25 * 0.75 / 100
    balanced = np.sqrt(0.75 * 0.25 / 400 + specificity_variance) / 2
    assert width(found["balanced_accuracy"]) == pytest.approx(2 * 1.96 * balanced, rel=0.08)


def test_coverage_of_the_true_value_is_close_to_nominal() -> None:
    rng = np.random.default_rng(5)
    hits = {"accuracy": 0, "auc": 0}
    # The probability is uniform for non-mergers, and the larger of two uniform numbers for mergers.
    truth = {"accuracy": 0.5 * 0.75 + 0.5 * 0.5, "auc": 2 / 3}
    trials = 150
    labels = np.repeat([1, 0], 100)
    for trial in range(trials):
        probabilities = np.r_[rng.random((100, 2)).max(axis=1), rng.random(100)]
        found = bootstrap(labels, probabilities, np.arange(200), resamples=300, rng_seed=trial)
        for name in hits:
            hits[name] += found[name]["low"] <= truth[name] <= found[name]["high"]
    # 95 % of 150 is 142.5, with a standard deviation of 2.7.
    assert all(133 <= count <= 149 for count in hits.values()), hits


def test_copies_do_not_narrow_the_interval() -> None:
    labels, probabilities = forecasts(np.random.default_rng(2), 60, 90)
    once = bootstrap(labels, probabilities, np.arange(150), rng_seed=1)
    copied_labels, copied = np.tile(labels, 5), np.tile(probabilities, 5)
    same_galaxies = bootstrap(copied_labels, copied, np.tile(np.arange(150), 5), rng_seed=1)
    other_galaxies = bootstrap(copied_labels, copied, np.arange(750), rng_seed=1)
    for name in ("accuracy", "balanced_accuracy", "brier", "auc", "f1"):
        assert same_galaxies[name] == pytest.approx(once[name], abs=1e-9)
        assert width(same_galaxies[name]) > 1.7 * width(other_galaxies[name])


def test_galaxies_may_have_any_numbers_and_any_order() -> None:
    labels, probabilities = forecasts(np.random.default_rng(4), 40, 60)
    galaxies = np.arange(100) // 2
    order = np.random.default_rng(0).permutation(100)
    ordered = bootstrap(labels, probabilities, galaxies, 200)
    shuffled = bootstrap(labels[order], probabilities[order], 7 * galaxies[order] - 1000, 200)
    assert shuffled["brier"] == pytest.approx(ordered["brier"], abs=1e-12)


def test_several_seeds_give_their_mean_and_a_wider_interval_if_they_differ() -> None:
    labels, good = forecasts(np.random.default_rng(6), 100, 100)
    poor = np.random.default_rng(7).random(200)
    galaxies = np.arange(200)
    alike = bootstrap(labels, np.stack([good] * 4), galaxies)
    unlike = bootstrap(labels, np.stack([good, good, poor, poor]), galaxies)
    scores = [score(labels, probabilities)["auc"] for probabilities in (good, good, poor, poor)]
    assert unlike["auc"]["value"] == pytest.approx(np.mean(scores))
    assert alike["auc"]["value"] == pytest.approx(score(labels, good)["auc"])
    assert width(unlike["auc"]) > 1.5 * width(alike["auc"])


def test_calibration_interval_accounts_for_the_bias() -> None:
    # The true calibration error of these overconfident forecasts is known from a large sample.
    def overconfident(q: np.ndarray) -> np.ndarray:
        return q**2 / (q**2 + (1 - q) ** 2)

    rng = np.random.default_rng(8)
    q = rng.random(1_000_000)
    truth = score((rng.random(len(q)) < q).astype(int), overconfident(q))["ece"]
    hits = 0
    for trial in range(60):
        q = rng.random(600)
        labels = (rng.random(600) < q).astype(int)
        found = bootstrap(labels, overconfident(q), np.arange(600), resamples=200, rng_seed=trial)["ece"]
        hits += found["low"] <= truth <= found["high"]
        assert 0 <= found["low"] <= found["value"] <= found["high"]
    # The plain percentile interval would cover the true error in about three quarters of the repetitions only.
    assert hits >= 52


def test_one_class_leaves_the_other_metrics_defined() -> None:
    found = bootstrap(np.ones(40, dtype=int), np.linspace(0.2, 0.9, 40), np.arange(40) // 2, 200)
    undefined = {name for name, interval in found.items() if np.isnan(interval["value"])}
    assert undefined == {"auc", "balanced_accuracy"}
    assert np.isnan(found["auc"]["low"])
    assert np.isnan(found["auc"]["high"])
    assert width(found["accuracy"]) > 0


def test_a_single_galaxy_has_no_interval() -> None:
    found = bootstrap([1, 1, 0, 0, 0], [0.9, 0.8, 0.1, 0.7, 0.2], [5, 5, 6, 7, 8], 100)
    assert found["accuracy"]["value"] == 0.8
    assert all(np.isnan(interval["low"]) and np.isnan(interval["high"]) for interval in found.values())


@pytest.mark.parametrize(
    ("probabilities", "galaxies", "message"),
    [
        ([0.1, 0.2, 0.9], [1, 1, 1], "galaxy 1 has images with both labels"),
        ([0.1, 0.2, 0.9], [1, 2], r"galaxies \(2,\) and labels \(3,\)"),
        ([[0.1, 0.2, 0.9], [0.1, np.nan, 0.9]], [1, 2, 3], "the first is nan at index 1"),
        (np.zeros((0, 3)), [1, 2, 3], r"expected \(N,\) or \(S, N\)"),
    ],
)
def test_invalid_input_is_reported(probabilities: list, galaxies: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap([0, 0, 1], probabilities, galaxies, 10)


def test_two_thousand_replicates_of_two_thousand_images_take_seconds() -> None:
    labels, probabilities = forecasts(np.random.default_rng(9), 800, 1200)
    started = time.process_time()
    bootstrap(labels, probabilities, np.arange(2000) // 4)
    assert time.process_time() - started < 5
