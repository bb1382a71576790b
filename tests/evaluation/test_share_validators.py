from dataclasses import replace

import numpy as np
import pytest
from evaluation.samples import evidence
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import norm

from mergershift.evaluation import Evidence
from mergershift.evaluation.share_validators import (
    balanced_information,
    balanced_transport,
    source_prior_information,
)

Floats = NDArray[np.float64]
SHARES = [0.05, 0.182, 0.33, 0.5]
OF_SHARES = (source_prior_information, balanced_information, balanced_transport)


def called(mergers: NDArray[np.bool_], share: float, sure: float = 0.97) -> Evidence:
    """A candidate that gives each image it calls a merger the probability `sure`, and every other one 1 - `sure`."""
    odds = np.log(sure / (1 - sure)) * np.where(mergers, 1.0, -1.0)
    logits = np.stack([np.zeros(len(odds)), odds], axis=1)
    labels = (np.arange(len(odds)) < round(share * len(odds))).astype(np.int64)
    return Evidence(
        source_features=logits,
        source_logits=logits,
        source_labels=labels,
        target_features=logits,
        target_logits=logits,
        class_shares=np.array([1 - share, share]),
    )


def equally_sure(share: float, images: int = 2000) -> dict[str, Evidence]:
    """The referee's candidates, which differ only in which images they call mergers; the truth comes first."""
    rng = np.random.default_rng(0)
    truth = np.arange(images) < round(share * images)

    def wrong(rate: float) -> NDArray[np.bool_]:
        flipped = np.zeros(images, dtype=bool)
        for members in (np.flatnonzero(truth), np.flatnonzero(~truth)):
            flipped[rng.choice(members, round(rate * len(members)), replace=False)] = True
        return truth ^ flipped

    half = truth.copy()
    half[np.flatnonzero(~truth)[: images // 2 - int(truth.sum())]] = True
    return {
        "perfect": called(truth, share),
        "0.9": called(wrong(0.1), share),
        "0.8": called(wrong(0.2), share),
        "half": called(half, share),
        "coin": called(rng.permutation(np.arange(images) % 2 == 0), share),
    }


@pytest.mark.parametrize("share", SHARES)
def test_of_equally_sure_classifiers_transport_ranks_a_perfect_one_first(share: float) -> None:
    scores = {name: balanced_transport(case) for name, case in equally_sure(share).items()}
    if share == 0.5:  # calling the right number of images mergers is all that can be seen
        assert max(scores.values()) == pytest.approx(scores["perfect"])
    else:
        assert scores["perfect"] == max(scores.values())
        assert scores["perfect"] > scores["0.9"] > scores["0.8"] > scores["coin"]


@pytest.mark.parametrize("validator", OF_SHARES)
def test_at_the_archives_share_of_mergers_a_perfect_classifier_ranks_first(validator: object) -> None:
    assert callable(validator)
    scores = {name: validator(case) for name, case in equally_sure(0.182).items()}
    assert max(scores, key=lambda name: scores[name]) == "perfect"


@pytest.mark.parametrize("share", [0.05, 0.182, 0.5])
def test_transport_equals_the_optimum_of_a_linear_programme(share: float) -> None:
    case = replace(evidence(3, images=45), class_shares=np.array([1 - share, share]))
    odds = case.target_logits[:, 1] - case.target_logits[:, 0]
    chance = 1 / (1 + np.exp(-odds))
    gains = np.stack([1 - chance, chance], axis=1)
    # The mass of image i in class c is variable 2 i + c.
    by_image, by_class = np.kron(np.eye(45), np.ones(2)), np.kron(np.ones(45), np.eye(2))
    found = linprog(
        -gains.ravel(), A_eq=np.r_[by_image, by_class], b_eq=np.r_[np.ones(45), 45 * (1 - share), 45 * share]
    )
    masses = found.x.reshape(45, 2)
    expected = np.mean((masses * gains).sum(axis=0) / masses.sum(axis=0))
    assert balanced_transport(case) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "off"), [(0.5, 0.005), (0.2, 0.015), (0.05, 0.05)])
@pytest.mark.parametrize("separation", [0, 1, 2, 4])
def test_transport_is_close_to_the_balanced_accuracy_of_a_calibrated_classifier(
    share: float, off: float, separation: float
) -> None:
    """The classes have unit normal densities at a distance, whose log odds under equal shares are known."""
    rng = np.random.default_rng(0)
    truth = np.arange(50_000) < share * 50_000
    x = rng.normal(size=len(truth)) + separation * (truth - 0.5)
    logits = np.stack([np.zeros(len(x)), separation * x], axis=1)
    found = balanced_transport(replace(called(truth, share), target_logits=logits))
    assert found == pytest.approx(norm.cdf(separation / 2), abs=off)


@pytest.mark.parametrize("validator", OF_SHARES)
def test_shares_of_the_training_are_undone(validator: object) -> None:
    """Training that weighs the classes as 3 to 1 adds log 3 to the logit of the first: the correction removes it."""
    assert callable(validator)
    case = replace(evidence(4), class_shares=np.array([0.8, 0.2]))
    weighed = replace(
        case,
        target_logits=case.target_logits + np.log([0.75, 0.25]),
        training_shares=np.array([0.75, 0.25]),
    )
    assert validator(weighed) == pytest.approx(validator(case))
    assert validator(replace(weighed, training_shares=None)) != pytest.approx(validator(case))


def test_divergence_from_the_sources_shares_by_its_definition() -> None:
    case = evidence(5)
    shares = np.bincount(case.source_labels) / 60
    corrected = []
    for row in case.target_logits:
        weighed = [float(np.exp(logit)) * share for logit, share in zip(row, shares, strict=True)]
        corrected.append([weight / sum(weighed) for weight in weighed])
    mean = [sum(column) / 60 for column in zip(*corrected, strict=True)]
    divergence = sum(m * np.log(m / s) for m, s in zip(mean, shares, strict=True))
    entropy = sum(-p * np.log(p) for row in corrected for p in row) / 60
    assert source_prior_information(case) == pytest.approx(-divergence - entropy)


def test_information_with_equal_shares_is_information_maximisation() -> None:
    from mergershift.evaluation import VALIDATORS

    case = replace(evidence(6, classes=4), class_shares=np.ones(4))
    expected = VALIDATORS["information_maximisation"](case)
    assert balanced_information(case) == pytest.approx(expected)
    assert source_prior_information(case) == pytest.approx(expected - np.log(4))


def test_balanced_information_of_a_target_resampled_to_equal_shares() -> None:
    """Calibrated predictions on a target with a fifth of mergers promise what they give on one with a half."""
    from mergershift.evaluation import VALIDATORS

    rng = np.random.default_rng(1)

    def logits(mergers: int, others: int) -> Floats:
        truth = np.arange(mergers + others) < mergers
        odds = 2 * (rng.normal(size=len(truth)) + truth - 0.5) * 1.0
        return np.stack([np.zeros(len(odds)), odds / 2], axis=1)

    case = evidence(7, images=1)
    few = replace(case, target_logits=logits(20_000, 80_000), target_features=np.zeros((100_000, 4)))
    even = replace(case, target_logits=logits(50_000, 50_000), target_features=np.zeros((100_000, 4)))
    found = balanced_information(replace(few, class_shares=np.array([0.8, 0.2])))
    assert found == pytest.approx(VALIDATORS["information_maximisation"](even), abs=0.003)


def test_transport_is_for_two_classes() -> None:
    with pytest.raises(ValueError, match="4 classes, expected 2"):
        balanced_transport(evidence(8, classes=4))


@pytest.mark.parametrize("shares", [np.array([1.0, 0.0]), np.ones(3)])
def test_shares_have_to_be_positive_and_one_for_each_class(shares: Floats) -> None:
    with pytest.raises(ValueError, match="class_shares"):
        replace(evidence(9), class_shares=shares)
