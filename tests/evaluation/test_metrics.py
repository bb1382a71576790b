import itertools
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from mergershift.evaluation import COUNTS, METRICS, score, weighted_scores
from mergershift.evaluation.metrics import galaxy_weighted_scores

Case = tuple[np.ndarray, np.ndarray]


def case(seed: int, ties: bool = False) -> Case:
    rng = np.random.default_rng(seed)
    labels = (rng.random(300) < 0.35).astype(int)
    probabilities = np.clip(rng.beta(2, 2, 300) * 0.8 + 0.2 * labels, 0, 1)
    return labels, np.round(probabilities, 1) if ties else probabilities


def by_sklearn(labels: np.ndarray, p: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    called = (p >= 0.5).astype(int)
    tn, fp, fn, tp = sk.confusion_matrix(labels, called, labels=[0, 1], sample_weight=weights).ravel()
    both = {"y_true": labels, "y_pred": called, "sample_weight": weights, "zero_division": np.nan}
    return {
        "accuracy": sk.accuracy_score(labels, called, sample_weight=weights),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called, sample_weight=weights),
        "precision": sk.precision_score(**both),
        "recall": sk.recall_score(**both),
        "f1": sk.f1_score(**both),
        "brier": sk.brier_score_loss(labels, p, sample_weight=weights),
        "auc": sk.roc_auc_score(labels, p, sample_weight=weights),
        "ece": calibration_error(labels, p, np.ones(len(p)) if weights is None else weights),
        **{"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }


def calibration_error(labels: np.ndarray, p: np.ndarray, weights: np.ndarray) -> float:
    total, edges = 0.0, np.arange(16) / 15
    for low, high in itertools.pairwise(edges):
        inside = (p >= low) & ((p < high) | (high == 1))
        if weights[inside].sum():
            share, mean = (np.average(values[inside], weights=weights[inside]) for values in (labels, p))
            total += weights[inside].sum() * abs(share - mean)
    return total / weights.sum()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_values_agree_with_scikit_learn(seed: int, ties: bool) -> None:
    labels, probabilities = case(seed, ties)
    found = score(labels, probabilities)
    assert set(found) == {*METRICS, *COUNTS}
    assert found == pytest.approx(by_sklearn(labels, probabilities), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_every_weighting_agrees_with_scikit_learn(ties: bool) -> None:
    labels, probabilities = case(7, ties)
    rng = np.random.default_rng(1)
    weights = np.stack([rng.random(300), rng.integers(0, 4, 300), rng.poisson(0.3, 300)]).astype(float)
    found = weighted_scores(labels, probabilities, weights)
    for place, weighting in enumerate(weights):
        own = {name: values[place] for name, values in found.items()}
        assert own == pytest.approx(by_sklearn(labels, probabilities, weighting), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_weights_of_galaxies_are_those_of_their_images(ties: bool) -> None:
    rng = np.random.default_rng(4)
    members = rng.permutation(np.repeat(np.arange(60), 5))
    labels = np.isin(members, rng.choice(60, 25, replace=False))
    chance = rng.random(300)
    if ties:
        chance = chance.round(1)
    weights = np.concatenate([rng.integers(0, 4, (20, 60)), np.zeros((1, 60))]).astype(float)
    found = galaxy_weighted_scores(labels, chance, members, weights, threshold=0.4)
    expected = weighted_scores(labels, chance, weights[:, members], threshold=0.4)
    assert found.keys() == expected.keys() - {"auc"}
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=0, atol=1e-13, err_msg=name)


def test_a_weight_of_two_is_equivalent_to_two_copies() -> None:
    labels, probabilities = case(3, ties=True)
    counts = np.random.default_rng(0).integers(0, 3, 300)
    weighted = weighted_scores(labels, probabilities, counts[None])
    repeated = score(np.repeat(labels, counts), np.repeat(probabilities, counts))
    assert {name: values[0] for name, values in weighted.items()} == pytest.approx(repeated, abs=1e-12)


def test_perfect_and_worst_predictions() -> None:
    labels = np.array([0, 0, 1, 1])
    best, worst = score(labels, labels), score(labels, 1 - labels)
    expected = dict.fromkeys(METRICS, 1.0) | {"brier": 0.0, "ece": 0.0}
    assert {name: best[name] for name in METRICS} == expected
    assert {name: worst[name] for name in METRICS} == {name: 1 - value for name, value in expected.items()}


def test_a_probability_equal_to_the_threshold_is_a_merger() -> None:
    labels, probabilities = np.array([0, 1, 1]), np.array([0.5, 0.5, 0.2])
    assert [score(labels, probabilities)[name] for name in COUNTS] == [0, 1, 1, 1]
    assert [score(labels, probabilities, threshold=0.2)[name] for name in COUNTS] == [0, 1, 0, 2]
    assert [score(labels, probabilities, threshold=0.6)[name] for name in COUNTS] == [1, 0, 2, 0]


def test_undefined_is_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_class = score([1, 1, 1], [0.2, 0.7, 0.9])
        none_called = score([0, 1], [0.1, 0.2])
        weightless = weighted_scores([0, 1], [0.1, 0.9], np.zeros((1, 2)))
    assert {name for name, value in one_class.items() if np.isnan(value)} == {"balanced_accuracy", "auc"}
    assert one_class["accuracy"] == one_class["recall"] == pytest.approx(2 / 3)
    assert {name for name, value in none_called.items() if np.isnan(value)} == {"precision"}
    assert none_called["f1"] == 0
    assert all(np.isnan(weightless[name][0]) for name in METRICS)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        (
            [0, 1, 1],
            [0.1, np.nan, 0.5],
            "1 of 3 probabilities are not numbers from 0 to 1, the first is nan at index 1",
        ),
        ([0, 1], [0.1, 1.5], "the first is 1.5 at index 1"),
        ([0, 2], [0.1, 0.5], "expected 0 and 1"),
        ([0, 1], [0.1], r"expected \(N,\) each"),
        ([], [], "N > 0"),
    ],
)
def test_invalid_predictions_are_reported(labels: list, probabilities: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(labels, probabilities)


def test_weights_of_a_wrong_shape_are_reported() -> None:
    with pytest.raises(ValueError, match=r"weights of shape \(2,\), expected \(R, 2\)"):
        weighted_scores([0, 1], [0.1, 0.9], [1, 1])
