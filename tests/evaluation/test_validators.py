import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from evaluation.samples import evidence
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mergershift.evaluation import VALIDATORS, Evidence, agreement, oracle_target_balanced_accuracy, regret
from mergershift.evaluation.density_ratios import density_ratios
from mergershift.evaluation.ranking import rank_ensemble
from mergershift.evaluation.validators import importance_weighted_risk

Floats = NDArray[np.float64]
OF_TARGET = ("target_entropy", "information_maximisation", "soft_neighbourhood_density")


def trained_on(case: Evidence) -> tuple[Floats, Floats]:
    """Return the features of source and target training images."""
    assert case.source_train_features is not None
    assert case.target_train_features is not None
    return case.source_train_features, case.target_train_features


def probabilities(logits: Floats) -> list[list[float]]:
    return [[float(np.exp(a)) / sum(float(np.exp(b)) for b in row) for a in row] for row in logits]


def entropy(row: list[float]) -> float:
    return -sum(p * float(np.log(p)) for p in row if p > 0)


def test_no_validator_sees_a_target_label() -> None:
    assert {"source_validation_risk", *OF_TARGET, "importance_weighted_risk"} < set(VALIDATORS)
    names = [field.name for field in fields(Evidence)]
    assert not [name for name in names if "label" in name and "source" not in name]
    assert not [name for name in VALIDATORS if name.startswith("oracle_")]


@pytest.mark.parametrize("classes", [2, 4])
def test_source_risk_is_the_mean_of_the_classes_risks(classes: int) -> None:
    case = evidence(1, classes=classes)
    of_class: dict[int, list[float]] = {}
    for row, label in zip(probabilities(case.source_logits), case.source_labels, strict=True):
        of_class.setdefault(int(label), []).append(-float(np.log(row[label])))
    expected = sum(sum(losses) / len(losses) for losses in of_class.values()) / classes
    assert VALIDATORS["source_validation_risk"](case) == pytest.approx(-expected)


def test_copies_of_one_class_do_not_change_the_source_risk() -> None:
    case = evidence(2)
    again = np.r_[np.arange(60), np.repeat(np.flatnonzero(case.source_labels == 1), 4)]
    copied = replace(
        case,
        source_features=case.source_features[again],
        source_logits=case.source_logits[again],
        source_labels=case.source_labels[again],
    )
    risk = VALIDATORS["source_validation_risk"]
    assert risk(copied) == pytest.approx(risk(case))


@pytest.mark.parametrize("classes", [2, 4])
def test_entropies_equal_those_computed_in_loops(classes: int) -> None:
    case = evidence(3, classes=classes)
    rows = probabilities(case.target_logits)
    mean_entropy = sum(entropy(row) for row in rows) / len(rows)
    of_mean = entropy([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    assert VALIDATORS["target_entropy"](case) == pytest.approx(-mean_entropy)
    assert VALIDATORS["information_maximisation"](case) == pytest.approx(of_mean - mean_entropy)


@pytest.mark.parametrize("images", [7, 600])
def test_neighbourhood_density_by_its_definition(images: int) -> None:
    case = evidence(4, images=images)
    outputs = np.array([np.array(row) / np.linalg.norm(row) for row in probabilities(case.target_logits)])
    densities = []
    for i, own in enumerate(outputs):
        near = np.exp(np.delete(outputs, i, axis=0) @ own / 0.05)
        densities.append(entropy((near / near.sum()).tolist()))
    assert VALIDATORS["soft_neighbourhood_density"](case) == pytest.approx(sum(densities) / images)


@pytest.mark.parametrize("name", VALIDATORS)
def test_order_of_images_does_not_matter(name: str) -> None:
    case = evidence(5)
    rng = np.random.default_rng(0)
    source, target = rng.permutation(60), rng.permutation(60)
    shuffled = Evidence(
        source_train_features=rng.permutation(trained_on(case)[0]),
        target_train_features=rng.permutation(trained_on(case)[1]),
        source_features=case.source_features[source],
        source_logits=case.source_logits[source],
        source_labels=case.source_labels[source],
        target_features=case.target_features[target],
        target_logits=case.target_logits[target],
    )
    assert VALIDATORS[name](shuffled) == pytest.approx(VALIDATORS[name](case), rel=1e-4)


@pytest.mark.parametrize("name", VALIDATORS)
def test_a_constant_added_to_an_images_logits_does_not_matter(name: str) -> None:
    case = evidence(6)
    added = 1e3 * np.random.default_rng(0).normal(size=(60, 1))
    moved = replace(case, source_logits=case.source_logits + added, target_logits=case.target_logits - added)
    assert VALIDATORS[name](moved) == pytest.approx(VALIDATORS[name](case))


@pytest.mark.parametrize("name", sorted(VALIDATORS.keys() - {"matrix_norm"}))
def test_confident_and_correct_beats_guessing(name: str) -> None:
    case = evidence(7, images=300)
    labels = case.source_labels
    sure = 8.0 * np.eye(2)[labels]
    guessed = np.random.default_rng(0).normal(size=(300, 2))
    good = replace(case, source_logits=sure, target_logits=sure)
    poor = replace(case, source_logits=guessed, target_logits=guessed)
    assert VALIDATORS[name](good) > VALIDATORS[name](poor)


@pytest.mark.parametrize("name", VALIDATORS)
def test_the_score_of_a_diverged_candidate_is_nan(name: str) -> None:
    case = evidence(8)
    broken = {
        name: np.where(np.arange(getattr(case, name).size).reshape(getattr(case, name).shape) == 3, bad, 1.0)
        for name, bad in (
            ("source_logits", np.nan),
            ("target_logits", np.inf),
            ("source_features", np.nan),
            ("target_train_features", -np.inf),
        )
    }
    assert np.isnan(VALIDATORS[name](replace(case, **broken)))


def one_class(seed: int = 9, sure: float = 30.0) -> tuple[Evidence, Evidence]:
    """For a fifth of mergers: a candidate that is mostly right and confident, and one that predicts no merger."""
    rng = np.random.default_rng(seed)
    case = evidence(seed, images=200)
    labels = (np.arange(200) % 5 == 0).astype(int)
    right = 5.0 * np.eye(2)[labels] + rng.normal(size=(200, 2))
    none = np.tile([sure, 0.0], (200, 1))
    return (
        replace(case, source_labels=labels, source_logits=right, target_logits=right),
        replace(case, source_labels=labels, source_logits=none, target_logits=none),
    )


def test_predicting_a_single_class_deceives_entropy_and_density_but_not_the_others() -> None:
    right, none = one_class()
    ranks_right = {name: validator(right) > validator(none) for name, validator in VALIDATORS.items()}
    assert ranks_right == {
        "source_validation_risk": True,
        "target_entropy": False,
        "information_maximisation": True,
        "source_prior_information": True,
        "balanced_information": True,
        "balanced_transport": True,
        "nuclear_norm": True,
        "matrix_norm": False,
        "transfer_score": True,
        "soft_neighbourhood_density": False,
        "importance_weighted_risk": True,
    }
    assert VALIDATORS["target_entropy"](none) == pytest.approx(0, abs=1e-10)
    assert VALIDATORS["information_maximisation"](none) == pytest.approx(0, abs=1e-10)
    assert VALIDATORS["soft_neighbourhood_density"](none) == pytest.approx(np.log(199))


@pytest.mark.parametrize("sure", [0.0, 3.0, 800.0])
def test_constant_predictions_have_no_information_however_confident(sure: float) -> None:
    _, none = one_class(sure=sure)
    assert VALIDATORS["information_maximisation"](none) == pytest.approx(0, abs=1e-12)
    assert all(np.isfinite(validator(none)) for validator in VALIDATORS.values())


def test_information_prefers_equal_classes_to_the_truth_if_the_classes_are_unequal() -> None:
    """This is the weakness that the validator's docstring describes."""
    right, _ = one_class()
    halves = 30.0 * np.eye(2)[np.arange(200) % 2]
    truth = 30.0 * np.eye(2)[right.source_labels]
    information = VALIDATORS["information_maximisation"]
    assert information(replace(right, target_logits=halves)) == pytest.approx(np.log(2))
    assert information(replace(right, target_logits=truth)) == pytest.approx(entropy([0.2, 0.8]))


def ratios_by_another_solver(source: Floats, target: Floats, at: Floats) -> Floats:
    """Density ratios from a ridge logistic regression on whitened features, fitted with BFGS and truncated."""
    both = np.concatenate([source, target])
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    scaled = (both - mean) / deviation
    values, vectors = np.linalg.eigh(np.cov(scaled.T))
    whiten = vectors / np.sqrt(values)
    design = scaled @ whiten
    sign = np.r_[-np.ones(len(source)), np.ones(len(target))]

    def objective(parameters: Floats) -> float:
        margins = sign * (design @ parameters[1:] + parameters[0])
        return float(np.mean(np.logaddexp(0, -margins)) + 0.01 * (parameters[1:] ** 2).sum() / 2)

    best = optimize.minimize(objective, np.zeros(design.shape[1] + 1), tol=1e-9).x
    odds = np.exp((at - mean) / deviation @ whiten @ best[1:] + best[0])
    ratios = odds * len(source) / len(target)
    return np.minimum(ratios, np.sqrt(len(at)) * ratios.mean())


def test_density_ratios_equal_those_of_another_solver() -> None:
    rng = np.random.default_rng(10)
    mix = rng.normal(size=(3, 3))
    source, target, at = (
        rng.normal(size=(200, 3)) @ mix,
        rng.normal(0.6, 1, (90, 3)) @ mix,
        rng.normal(size=(50, 3)),
    )
    np.testing.assert_allclose(
        density_ratios(source, target, at), ratios_by_another_solver(source, target, at), rtol=1e-3
    )


def ratios_by_scikit_learn(source: Floats, target: Floats, at: Floats) -> Floats:
    """Density ratios from the randomised principal components and the logistic regression of scikit-learn."""
    both = np.concatenate([source, target])
    scaler = StandardScaler().fit(both)
    projection = PCA(50, svd_solver="randomized", random_state=0, whiten=True).fit(scaler.transform(both))
    classifier = LogisticRegression(C=1 / (0.01 * len(both)), tol=1e-8, max_iter=1000)
    classifier.fit(
        projection.transform(scaler.transform(both)), np.repeat([0, 1], [len(source), len(target)])
    )
    odds = np.exp(classifier.decision_function(projection.transform(scaler.transform(at))))
    ratios = odds * len(source) / len(target)
    return np.minimum(ratios, np.sqrt(len(at)) * ratios.mean())


@pytest.mark.parametrize(("rows", "width"), [(120, 700), (700, 120), (520, 700)])
def test_density_ratios_equal_those_of_scikit_learns_projection(rows: int, width: int) -> None:
    """The same random start spans the same components, with 4 and with 7 iterations, on rows and on features."""
    rng = np.random.default_rng(15)
    mix = rng.normal(size=(40, width)) * np.linspace(1, 0.1, 40)[:, None]

    def features(count: int, shift: float) -> Floats:
        return (rng.normal(size=(count, 40)) + shift) @ mix + rng.normal(size=(count, width))

    source, target, at = features(rows // 2, 0.0), features(rows // 2, 0.1), features(50, 0.0)
    np.testing.assert_allclose(
        density_ratios(source, target, at), ratios_by_scikit_learn(source, target, at), rtol=1e-5
    )


def test_density_ratios_of_normal_densities() -> None:
    """Two unit normal distributions with means 0 and 1 have the ratio exp(x - 1/2)."""
    rng = np.random.default_rng(11)
    at = np.linspace(-1, 2, 20)[:, None]
    found = density_ratios(rng.normal(size=(20000, 1)), rng.normal(1, 1, (10000, 1)), at)
    np.testing.assert_allclose(found, np.exp(at[:, 0] - 0.5), rtol=0.15)


@pytest.mark.parametrize("width", [3, 300])
def test_domains_that_never_overlap_keep_finite_ratios(width: int) -> None:
    rng = np.random.default_rng(12)
    source, target = rng.normal(size=(100, width)), rng.normal(50, 1, (100, width))
    for at in (source, target, 1e6 * target):
        ratios = density_ratios(source, target, at)
        assert np.isfinite(ratios).all()
        assert (ratios > 0).all()


def test_dead_and_repeated_features_do_not_matter() -> None:
    rng = np.random.default_rng(13)
    source, target, at = rng.normal(size=(90, 2)), rng.normal(0.5, 1, (80, 2)), rng.normal(size=(30, 2))

    def padded(features: Floats) -> Floats:
        dead, repeated = np.zeros((len(features), 3)), features[:, :1] * 1e-4 + 7
        return np.concatenate([features, dead, repeated], axis=1)

    wide = density_ratios(padded(source), padded(target), padded(at))
    assert np.isfinite(wide).all()
    assert stats.spearmanr(wide, density_ratios(source, target, at)).statistic > 0.99
    assert (density_ratios(np.ones((9, 4)), np.ones((8, 4)), rng.normal(size=(5, 4))) == 1).all()


def test_many_features_are_projected_reproducibly() -> None:
    """The 400 features depend on six hidden ones, of which only the first, h, differs: ratios are exp(h - 1/2)."""
    rng = np.random.default_rng(14)
    loadings = rng.normal(size=(6, 400))

    def features(rows: int, hidden: float) -> tuple[Floats, Floats]:
        inner = rng.normal(size=(rows, 6)) + hidden * np.eye(6)[0]
        return inner[:, 0], inner @ loadings + 0.1 * rng.normal(size=(rows, 400))

    (_, source), (_, target), (inner, at) = features(900, 0), features(800, 1), features(200, 0)
    found = density_ratios(source, target, at)
    assert stats.spearmanr(found, inner).statistic > 0.9
    np.testing.assert_array_equal(found, density_ratios(source, target, at))
    np.testing.assert_allclose(found, density_ratios(rng.permutation(source), target[::-1], at), rtol=0.05)


def dev_by_hand(losses: Floats, ratios: Floats) -> float:
    weighted = [w * loss for w, loss in zip(ratios, losses, strict=True)]
    mean, mean_w = sum(weighted) / len(weighted), sum(ratios) / len(ratios)
    covariance = sum((a - mean) * (w - mean_w) for a, w in zip(weighted, ratios, strict=True))
    variance = sum((w - mean_w) ** 2 for w in ratios)
    eta = -covariance / variance
    return mean + eta * mean_w - eta


def test_importance_weighted_risk_by_its_definition() -> None:
    case = evidence(15)
    ratios = ratios_by_another_solver(*trained_on(case), case.source_features)
    rows = probabilities(case.source_logits)
    sizes = np.bincount(case.source_labels)
    losses = np.array(
        [
            -np.log(row[label]) * 60 / (2 * sizes[label])
            for row, label in zip(rows, case.source_labels, strict=True)
        ]
    )
    expected = dev_by_hand(losses, ratios)
    assert losses.min() < expected < losses.max()
    assert importance_weighted_risk(case) == pytest.approx(-expected, rel=1e-3)


@pytest.mark.parametrize("times", [1, 3])
def test_importance_weighted_risk_is_the_plain_one_if_the_domains_are_equal(times: int) -> None:
    case = evidence(16)
    same = replace(case, target_train_features=np.tile(trained_on(case)[0], (times, 1)))
    assert importance_weighted_risk(same) == pytest.approx(
        VALIDATORS["source_validation_risk"](same), rel=1e-4
    )


def test_importance_weighted_risk_stays_within_the_losses_if_the_domains_never_overlap() -> None:
    for seed in range(10):
        case = evidence(seed, images=30)
        separated = replace(case, target_train_features=trained_on(case)[1] + 40)
        assert -20 < importance_weighted_risk(separated) < 0


def covariate_shift(seed: int, good_where: float, images: int = 2000) -> tuple[Evidence, float]:
    """A candidate that is right on one side of a single feature, and its true class-balanced risk on the target.

    The feature is distributed around 0 in the source and around 1.5 in the target, and the class does not depend on
    it.
    """
    rng = np.random.default_rng(seed)
    source, target = rng.normal(0, 1, (images, 1)), rng.normal(1.5, 1, (images, 1))
    labels, target_labels = rng.integers(0, 2, (2, images))

    def logits(x: Floats, y: NDArray[np.int64]) -> Floats:
        knows = np.sign(good_where) * (x[:, 0] - 0.75) > 0
        return np.where(knows[:, None], 3.0, 0.2) * np.eye(2)[y]

    of_target = logits(target, target_labels)
    case = Evidence(
        source_train_features=rng.normal(0, 1, (images, 1)),
        target_train_features=rng.normal(1.5, 1, (images, 1)),
        source_features=source,
        source_logits=logits(source, labels),
        source_labels=labels,
        target_features=target,
        target_logits=of_target,
    )
    unlabelled = replace(case, source_logits=of_target, source_labels=target_labels)
    return case, -VALIDATORS["source_validation_risk"](unlabelled)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_correctly_under_a_covariate_shift_under_which_the_plain_risk_fails(seed: int) -> None:
    (left, risk_left), (right, risk_right) = (covariate_shift(seed, side) for side in (-1, 1))
    assert risk_right < risk_left - 0.2
    plain = VALIDATORS["source_validation_risk"]
    assert plain(left) > plain(right)
    assert importance_weighted_risk(right) > importance_weighted_risk(left)
    for case, risk in ((left, risk_left), (right, risk_right)):
        assert -importance_weighted_risk(case) == pytest.approx(risk, abs=0.12)
        assert abs(-plain(case) - risk) > 0.2


def test_oracle_is_the_mean_recall_of_the_classes() -> None:
    logits = np.array([[2.0, 1], [0, 3], [1, 0], [5, 4], [0, 0.1]])
    labels = np.array([0, 0, 0, 0, 1])
    assert oracle_target_balanced_accuracy(labels, logits) == pytest.approx((3 / 4 + 1) / 2)
    assert oracle_target_balanced_accuracy(labels, np.tile([1.0, 0], (5, 1))) == 0.5
    assert np.isnan(oracle_target_balanced_accuracy(labels, np.where(logits == 3, np.nan, logits)))


def test_agreement_is_the_correlation_of_ranks() -> None:
    rng = np.random.default_rng(17)
    scores, oracle = rng.normal(size=(2, 12))
    scores[3] = scores[4]
    ranks = [stats.rankdata(values) for values in (scores, oracle)]
    assert agreement(scores, oracle) == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert agreement(np.exp(oracle), oracle) == pytest.approx(1)
    assert agreement(-oracle, oracle) == pytest.approx(-1)
    order = rng.permutation(12)
    assert agreement(scores[order], oracle[order]) == pytest.approx(agreement(scores, oracle))


def test_agreement_is_undefined_without_a_ranking() -> None:
    assert np.isnan(agreement([1, 1, 1], [0.5, 0.6, 0.7]))
    assert np.isnan(agreement([1, 2, 3], [0.5, 0.5, 0.5]))
    assert np.isnan(agreement([1], [0.5]))


def test_regret_is_the_cost_of_the_choice() -> None:
    oracle = [0.6, 0.9, 0.7]
    assert regret([1, 5, 2], oracle) == 0
    assert regret([1, 2, 5], oracle) == pytest.approx(0.2)
    assert regret([5, 1, 2], oracle) == pytest.approx(0.3)
    # Either of two equally good candidates may be chosen.
    assert regret([5, 5, 2], oracle) == pytest.approx((0.3 + 0) / 2)
    assert regret([5, 5, 5], oracle) == pytest.approx(0.9 - np.mean(oracle))


def test_candidates_without_a_score_are_excluded() -> None:
    oracle = [0.6, 0.95, 0.7, 0.8]
    assert agreement([1, np.nan, 2, 3], oracle) == pytest.approx(1)
    assert regret([1, np.nan, 3, 2], oracle) == pytest.approx(0.1)
    assert np.isnan(regret([np.nan] * 4, oracle))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"source_features": np.zeros((60, 5))},
            r"source_train_features of shape \(80, 4\), expected \(80, 5\)",
        ),
        ({"target_features": np.zeros((3, 4))}, r"target_logits of shape \(60, 2\), expected \(3, 2\)"),
        ({"target_logits": np.zeros((60, 3))}, r"target_logits of shape \(60, 3\), expected \(60, 2\)"),
        ({"source_features": np.zeros((9, 4))}, r"source_features of shape \(9, 4\), expected \(60, 4\)"),
        ({"source_train_features": np.zeros((0, 4))}, "not empty"),
        ({"source_labels": np.full(60, 2)}, r"labels are \[2\], expected whole numbers below 2"),
        ({"source_labels": np.full(60, 0.5)}, r"labels are \[0.5\]"),
        ({"source_labels": np.zeros(7, dtype=int)}, r"logits \(60, 2\) and labels \(7,\)"),
    ],
)
def test_invalid_evidence_is_reported(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(evidence(), **changes)


def test_other_invalid_input_is_reported() -> None:
    with pytest.raises(ValueError, match=r"scores \(2,\) and oracle scores \(3,\)"):
        regret([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="1 target image"):
        VALIDATORS["soft_neighbourhood_density"](
            evidence(target_features=np.zeros((1, 4)), target_logits=np.zeros((1, 2)))
        )


def test_a_candidate_with_as_many_features_as_the_network_takes_seconds() -> None:
    rng = np.random.default_rng(18)
    wide = {
        name: np.maximum(rng.normal(size=(1500, 2592)), 0)
        for name in ("source_train_features", "target_train_features", "source_features", "target_features")
    }
    case = evidence(18, images=1500)
    case = replace(case, **wide)
    started = time.process_time()
    assert all(np.isfinite(validator(case)) for validator in VALIDATORS.values())
    assert time.process_time() - started < 15


def test_the_ensemble_of_validators_sums_their_ranks() -> None:
    found = rank_ensemble([[0.1, 0.3, 0.2, np.nan], [5.0, 5.0, 7.0, 9.0]])
    np.testing.assert_array_equal(found, [1 + 1.5, 3 + 1.5, 2 + 3, np.nan])
    with pytest.raises(ValueError, match="expected"):
        rank_ensemble([[1.0], [1.0, 2.0]])
