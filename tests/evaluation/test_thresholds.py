import numpy as np
import pytest

from mergershift.config import compose
from mergershift.evaluation import best_threshold, score


def balanced(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    return score(labels, probabilities, threshold)["balanced_accuracy"]


@pytest.mark.parametrize("decimals", [1, 2, 8])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_no_other_threshold_is_better(share: float, decimals: int) -> None:
    rng = np.random.default_rng(int(10 * share) + decimals)
    for _ in range(30):
        labels = np.r_[1, 0, rng.random(40) < share].astype(int)
        probabilities = np.clip(np.round(rng.beta(2, 4, 42) + 0.2 * labels, decimals), 0, 1)
        found = best_threshold(labels, probabilities)
        assert 0 < found < 1
        edges = np.unique(np.r_[0, probabilities, 1])
        tried = np.r_[(edges[1:] + edges[:-1]) / 2, edges[(edges > 0) & (edges < 1)]]
        best = max(balanced(labels, probabilities, threshold) for threshold in tried)
        assert balanced(labels, probabilities, found) == pytest.approx(best, abs=1e-12)


def test_the_middle_of_the_only_gap_between_the_classes() -> None:
    assert best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9]) == pytest.approx(0.3)


def test_the_rare_class_has_the_same_weight_as_the_common_one() -> None:
    labels = np.r_[1, 1, np.zeros(98, dtype=int)]
    probabilities = np.r_[0.35, 0.9, np.linspace(0.01, 0.4, 98)]
    # Maximising the accuracy would miss the merger at 0.35; here, a few false positives cost less.
    found = best_threshold(labels, probabilities)
    assert probabilities[2:][probabilities[2:] < 0.35].max() < found <= 0.35


def test_the_widest_of_equally_good_plateaus() -> None:
    # Above 0.5, the recall is 1/2 without false positives; below 0.1, it is 1 with half of the non-mergers.
    assert best_threshold([0, 1, 0, 1], [0.05, 0.1, 0.5, 0.95]) == pytest.approx((0.5 + 0.95) / 2)
    assert best_threshold([0, 1, 0, 1], [0.05, 0.6, 0.7, 0.95]) == pytest.approx((0.05 + 0.6) / 2)


def test_adjacent_plateaus_are_merged() -> None:
    # A merger and a non-merger are both at 0.5, so the balanced accuracy is constant from 0.2 to 0.8.
    assert best_threshold([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.8]) == pytest.approx(0.5)
    # Without merging, only the wider half would be used.
    assert best_threshold([0, 0, 1, 1], [0.2, 0.7, 0.7, 0.9]) == pytest.approx((0.2 + 0.9) / 2)


def test_among_equally_wide_plateaus_the_one_nearest_to_a_half_then_the_lower_is_chosen() -> None:
    assert best_threshold([0, 1, 0, 1], [0.1, 0.3, 0.5, 0.7]) == pytest.approx(0.6)
    assert best_threshold([0, 1, 0, 1], [0.3, 0.4, 0.6, 0.7]) == pytest.approx(0.35)


@pytest.mark.parametrize("constant", [0.0, 0.3, 0.5, 1.0, 5e-324])
def test_equal_probabilities_give_a_half(constant: float) -> None:
    assert best_threshold([0, 1, 1], [constant] * 3) == 0.5


@pytest.mark.parametrize(
    "probabilities", [[0.0, 1.0], [0.3, np.nextafter(0.3, 1)], [1 - 2.2e-16, 1 - 1.1e-16], [0.0, 5e-324]]
)
def test_separates_the_nearest_and_the_most_distant_floats(probabilities: list[float]) -> None:
    found = best_threshold([0, 1], probabilities)
    assert 0 < found < 1
    assert balanced(np.array([0, 1]), np.array(probabilities), found) == 1


def test_worse_than_chance_at_every_threshold_between_0_and_1() -> None:
    assert 0 < best_threshold([1, 0], [0.0, 1.0]) < 1


def test_order_of_images_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    labels, probabilities = rng.integers(0, 2, 200), rng.random(200).round(2)
    order = rng.permutation(200)
    assert best_threshold(labels, probabilities) == best_threshold(labels[order], probabilities[order])


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1, 1], [0.2, 0.3], "2 mergers and 0 non-mergers"),
        ([0, 1], [0.2, np.nan], "the first is nan"),
        ([0, 2], [0.2, 0.3], "expected 0 and 1"),
    ],
)
def test_invalid_input_is_reported(labels: list[int], probabilities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        best_threshold(labels, probabilities)


def test_the_default_is_one_half_for_trainings_with_equal_class_weights() -> None:
    config = compose()
    assert config.selection is not None
    assert (config.selection.threshold, config.training.class_weights) == ("half", "balanced")


def test_a_threshold_from_few_galaxies_makes_the_accuracy_on_the_target_scatter() -> None:
    """With 45 validation galaxies, as in the demo; the accuracy at one half has no such scatter."""
    rng = np.random.default_rng(5)

    def logits(galaxies: int, separation: float) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(galaxies) % 3 == 0, 4).astype(int)
        own = np.repeat(rng.normal(size=galaxies), 4) + 0.7 * rng.normal(size=4 * galaxies)
        return labels, own + separation * (labels - 0.5)

    labels, target = logits(1500, 0.8)
    target -= 0.5  # as where noise hides what makes a merger
    found = []
    for _ in range(40):
        validation, source = logits(45, 1.5)
        threshold = best_threshold(validation, 1 / (1 + np.exp(-source)))
        found.append(balanced(labels, 1 / (1 + np.exp(-target)), threshold))
    assert np.std(found) > 0.01
