import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from mergershift.core.errors import UserError
from mergershift.evaluation import Interval, bootstrap, compare, won_back
from mergershift.evaluation.resampling import draws
from mergershift.evaluation.significance import holm, sign_flip_p

CAMERAS = 3
MERGERS = 40
Booleans = NDArray[np.bool_]


def table(right: Booleans, mergers: int = MERGERS, role: str = "target", seeds: int = 1) -> pd.DataFrame:
    """Table of decisions `(S, G, CAMERAS)`, or `(G, CAMERAS)` for one seed, about mergers first, then non-mergers."""
    by_seed = right.reshape(seeds, -1, CAMERAS)
    seed, galaxy, camera = (index.ravel() for index in np.indices(by_seed.shape))
    label = (galaxy < mergers).astype(int)
    correct = by_seed.ravel()
    return pd.DataFrame(
        {
            "seed": seed + 5,
            "role": role,
            "domain": {"source": "pristine", "target": "noisy"}[role],
            "row": 100 + CAMERAS * galaxy + camera,
            "galaxy": 7 * galaxy,
            "camera": camera,
            "label": label,
            "probability": 0.5,
            "prediction": np.where(correct, label, 1 - label),
        }
    )


def chances(rng: np.random.Generator, share: float, galaxies: int = 100, seeds: int = 2) -> Booleans:
    """Decisions that are correlated within a galaxy, a fraction `share` of which is correct on average."""
    easy = rng.beta(4 * share, 4 * (1 - share), size=(galaxies, 1))
    return rng.random((seeds, galaxies, CAMERAS)) < easy


def balanced(frame: pd.DataFrame) -> float:
    """Balanced accuracy, averaged over the seeds, computed in loops."""
    of_seeds = []
    for _, group in frame.groupby("seed"):
        of_classes = []
        for _, part in group.groupby("label"):
            of_classes.append(sum(part["prediction"] == part["label"]) / len(part))
        of_seeds.append(sum(of_classes) / 2)
    return sum(of_seeds) / len(of_seeds)


def width(row: Any) -> float:
    return float(row["high"] - row["low"])


def pair(seed: int, better: float = 0.75, worse: float = 0.65, seeds: int = 2) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    return {
        "source_only": table(chances(rng, worse, seeds=seeds), seeds=seeds),
        "mmd": table(chances(rng, better, seeds=seeds), seeds=seeds),
    }


def test_difference_is_that_of_the_mean_balanced_accuracies() -> None:
    methods = pair(0)
    (row,) = compare(methods, "source_only", 200).to_dict("records")
    assert row["method"] == "mmd"
    assert row["difference"] == pytest.approx(balanced(methods["mmd"]) - balanced(methods["source_only"]))
    assert row["low"] < row["difference"] < row["high"]
    assert (row["images"], row["galaxies"], row["seeds"]) == (300, 100, 2)


def test_identical_methods_do_not_differ() -> None:
    methods = pair(1)
    found = compare(methods | {"twin": methods["source_only"].copy()}, "source_only", 200).set_index("method")
    twin = found.loc["twin"]
    assert (twin["difference"], twin["low"], twin["high"], twin["p"], twin["p_holm"]) == (0, 0, 0, 1, 1)


def test_interval_equals_one_computed_in_loops() -> None:
    """The reference draws galaxies as whole lists of rows, and seeds as whole tables."""
    rng = np.random.default_rng(2)
    right = {name: rng.random((2, 9, CAMERAS)) < share for name, share in (("a", 0.5), ("b", 0.8))}
    methods = {name: table(decisions, mergers=4, seeds=2) for name, decisions in right.items()}
    (row,) = compare(methods, "a", 4000, rng_seed=1).to_dict("records")
    draw = np.random.default_rng(123)
    differences = []
    for _ in range(4000):
        picked = np.r_[draw.choice(4, 4), 4 + draw.choice(5, 5)]
        seeds = draw.choice(2, 2)
        shares = {
            name: (decisions[seeds][:, picked[:4]].mean() + decisions[seeds][:, picked[4:]].mean()) / 2
            for name, decisions in right.items()
        }
        differences.append(shares["b"] - shares["a"])
    low, high = np.quantile(differences, [0.025, 0.975])
    assert row["low"] == pytest.approx(low, abs=0.025)
    assert row["high"] == pytest.approx(high, abs=0.025)


def test_draws_are_those_of_bootstrap() -> None:
    """Compared with a baseline that is always wrong, the difference has the interval of the method itself."""
    right = chances(np.random.default_rng(3), 0.7)
    methods = {"none": table(np.zeros_like(right), seeds=2), "some": table(right, seeds=2)}
    (row,) = compare(methods, "none", 300, rng_seed=4).to_dict("records")
    some = methods["some"].pivot(index="row", columns="seed", values="prediction").to_numpy().T
    first = methods["some"].query("seed == 5")
    alone = bootstrap(first["label"], some, first["galaxy"], 300, rng_seed=4)["balanced_accuracy"]
    assert (row["difference"], row["low"], row["high"]) == pytest.approx(
        (alone["value"], alone["low"], alone["high"])
    )


def test_pairing_removes_common_variation() -> None:
    """If both methods err on the same galaxies and seeds, the uncertainty of their difference is smaller."""
    rng = np.random.default_rng(5)
    hard = rng.random((3, 100, CAMERAS)) < np.array([0.5, 0.7, 0.9])[:, None, None]
    better = hard | (rng.random(hard.shape) < 0.1)
    unpaired = better[::-1]
    methods = {"a": table(hard, seeds=3), "b": table(better, seeds=3), "c": table(unpaired, seeds=3)}
    found = compare(methods, "a").set_index("method")
    assert found.loc["b", "difference"] == pytest.approx(found.loc["c", "difference"])
    assert width(found.loc["b"]) < 0.3 * width(found.loc["c"])


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(6)
    hard = chances(rng, 0.6, seeds=1)[0]
    lucky = hard | (rng.random(hard.shape) < 0.4)
    baseline = table(np.stack([hard] * 4), seeds=4)
    steady = np.stack([np.where(np.arange(100)[:, None] % 2 == 0, lucky, hard)] * 4)
    varying = np.stack([lucky, lucky, hard, hard])
    found = compare(
        {"a": baseline, "steady": table(steady, seeds=4), "varying": table(varying, seeds=4)}, "a"
    ).set_index("method")
    assert width(found.loc["varying"]) > 1.5 * width(found.loc["steady"])


def test_coverage_of_a_known_difference_is_close_to_nominal() -> None:
    hits = 0
    for trial in range(100):
        rng = np.random.default_rng([7, trial])
        (row,) = compare(
            {"a": table(rng.random((100, CAMERAS)) < 0.6), "b": table(rng.random((100, CAMERAS)) < 0.7)},
            "a",
            300,
        ).to_dict("records")
        hits += row["low"] <= 0.1 <= row["high"]
    # 95 % of 100 is 95, with a standard deviation of 2.2.
    assert 88 <= hits <= 99


def test_rows_may_have_any_order_and_copies_do_not_count() -> None:
    methods = pair(8)
    expected = compare(methods, "source_only", 200)
    copies = {
        name: pd.concat([frame, frame.assign(row=frame["row"] + 5000)]).sample(frac=1, random_state=1)
        for name, frame in methods.items()
    }
    pd.testing.assert_frame_equal(compare(copies, "source_only", 200), expected)


def test_only_decisions_count_not_probabilities() -> None:
    methods = pair(9)
    changed = {name: frame.assign(probability=0.99) for name, frame in methods.items()}
    pd.testing.assert_frame_equal(compare(changed, "source_only", 100), compare(methods, "source_only", 100))


def test_the_table_is_empty_without_a_method_besides_the_baseline() -> None:
    found = compare({"source_only": pair(0)["source_only"]}, "source_only", 50)
    assert found.empty
    assert "p_holm" in found


def test_a_single_galaxy_has_no_interval() -> None:
    rng = np.random.default_rng(10)
    methods = {name: table(rng.random((9, CAMERAS)) < 0.5, mergers=1) for name in "ab"}
    (row,) = compare(methods, "a", 50).to_dict("records")
    assert np.isfinite(row["difference"])
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def sign_flip_by_hand(differences: list[float]) -> float:
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(total >= sums[0] - 1e-12 for total in sums) / len(sums)


def test_sign_flips_of_few_galaxies_are_exact() -> None:
    assert sign_flip_p([1.0, 1.0, 1.0]) == 2 / 8
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1
    assert sign_flip_p([0.1, 0.2, 0.3, 0.0]) == sign_flip_by_hand([0.1, 0.2, 0.3]) == 2 / 8
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.3, 1, 10).round(1)
        assert sign_flip_p(differences) == sign_flip_by_hand(differences.tolist())
    assert sign_flip_p([]) == sign_flip_p(np.zeros(100)) == 1


def test_random_sign_flips_agree_with_scipy() -> None:
    differences = np.random.default_rng(0).normal(0.15, 1, 200)
    reference = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=9999, vectorized=False, random_state=1
    ).pvalue
    found = sign_flip_p(differences)
    assert 0.001 < found < 0.2
    assert found == pytest.approx(reference, rel=0.15)
    assert found == sign_flip_p(differences) == sign_flip_p(-differences)


def test_an_overwhelming_difference_has_the_smallest_possible_p() -> None:
    assert sign_flip_p(np.ones(500), flips=999) == 1 / 1000


@pytest.mark.parametrize("seed", range(6))
def test_p_is_that_of_the_galaxies_contributions_to_the_difference(seed: int) -> None:
    """For nine galaxies, the reference enumerates all sign patterns of their contributions to the difference."""
    rng = np.random.default_rng([11, seed])
    right = {name: rng.random((2, 9, CAMERAS)) < share for name, share in (("a", 0.4), ("b", 0.6))}
    methods = {name: table(decisions, mergers=2, seeds=2) for name, decisions in right.items()}
    (row,) = compare(methods, "a", 50).to_dict("records")
    sizes = np.repeat([2, 7], [2, 7])
    contributions = (right["b"].mean(axis=(0, 2)) - right["a"].mean(axis=(0, 2))) / sizes / 2
    assert row["difference"] == pytest.approx(contributions.sum())
    assert row["p"] == sign_flip_by_hand(contributions.tolist())


def test_p_is_uniform_if_there_is_no_difference() -> None:
    p = []
    for trial in range(150):
        rng = np.random.default_rng([12, trial])
        easy = rng.beta(2, 1, size=(100, 1))
        drawn = [table(rng.random((100, CAMERAS)) < easy, mergers=20) for _ in range(2)]
        p.append(compare(dict(zip("ab", drawn, strict=True)), "a", 1)["p"].iloc[0])
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert 1 <= np.sum(np.array(p) < 0.05) <= 15


def test_holm_by_hand() -> None:
    # The products are 0.01 x 4, 0.02 x 3, 0.03 x 2 (not smaller than the previous one) and 0.5 x 1.
    np.testing.assert_allclose(holm([0.03, 0.5, 0.01, 0.02]), [0.06, 0.5, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)


def test_p_is_corrected_for_the_number_of_methods() -> None:
    methods = pair(13) | {"coral": pair(14)["mmd"], "dann": pair(15, better=0.66)["mmd"]}
    found = compare(methods, "source_only", 50)
    np.testing.assert_allclose(found["p_holm"], holm(found["p"].to_numpy()))
    assert (found["p_holm"] >= found["p"]).all()
    assert found["p_holm"].max() > found["p"].max() or found["p"].is_monotonic_increasing


def domains(source: float, target: float, adapted: float, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A baseline with both roles, and a method; decisions are correct if a galaxy's ease is below the share."""
    ease = np.random.default_rng(seed).random((2, 100, CAMERAS))
    baseline = [
        table(ease < share, role=role, seeds=2) for role, share in (("source", source), ("target", target))
    ]
    return pd.concat(baseline), table(ease < adapted, seeds=2)


def test_won_back_is_the_share_of_the_drop() -> None:
    baseline, adapted = domains(0.9, 0.6, 0.75)
    both = {"source_only": baseline, "mmd": adapted}
    drop, shares = won_back(both, "source_only", 400)
    of_role = {role: balanced(part) for role, part in baseline.groupby("role")}
    assert drop["value"] == pytest.approx(of_role["source"] - of_role["target"])
    assert drop["low"] < drop["value"] < drop["high"]
    (row,) = shares.to_dict("records")
    assert row["method"] == "mmd"
    assert row["share"] == pytest.approx((balanced(adapted) - of_role["target"]) / drop["value"])
    assert row["low"] < 0.5 < row["high"]
    assert row["share"] == pytest.approx(0.5, abs=0.1)


def test_a_method_may_win_back_all_nothing_or_less_than_nothing() -> None:
    baseline, _ = domains(0.9, 0.6, 0.7)
    source = baseline[baseline["role"] == "source"]
    methods = {
        "source_only": baseline,
        "perfect": source.assign(role="target", domain="noisy"),
        "same": baseline[baseline["role"] == "target"],
        "worse": domains(0.9, 0.6, 0.5)[1],
    }
    shares = won_back(methods, "source_only", 400).shares.set_index("method").T.to_dict("list")
    # Method and baseline use the same draws, so these shares have no uncertainty.
    assert shares["perfect"] == pytest.approx([1, 1, 1])
    assert shares["same"] == [0, 0, 0]
    assert shares["worse"][2] < 0


@pytest.mark.parametrize("target", [0.69, 0.8])
def test_a_share_of_no_drop_is_undefined(target: float) -> None:
    baseline, adapted = domains(0.7, target, 0.75)
    baseline.loc[baseline["role"] == "target", "prediction"] = domains(0.7, target, 0.75, seed=3)[0].loc[
        lambda frame: frame["role"] == "target", "prediction"
    ]
    drop, shares = won_back({"a": baseline, "b": adapted}, "a", 300)
    assert drop["low"] < 0
    assert np.isfinite(drop["high"])
    assert shares[["share", "low", "high"]].isna().all(axis=None)


def test_replicates_without_a_drop_are_excluded_from_the_shares() -> None:
    """The reference loops over the same draws, for a drop that is barely significant."""
    rng = np.random.default_rng(21)
    decided = {
        name: rng.random((100, CAMERAS)) < share for name, share in (("s", 0.8), ("t", 0.7), ("m", 0.75))
    }
    baseline = pd.concat([table(decided["s"], role="source"), table(decided["t"])])
    drop, shares = won_back({"a": baseline, "m": table(decided["m"])}, "a")
    classes = (np.arange(100) < MERGERS).astype(int)
    drops, expected = [], []
    for weights, _ in draws(classes, 1, 300, 2000, 0):
        for replicate in weights:
            s, t, m = (
                np.mean(
                    [
                        np.average(right[classes == c].mean(axis=1), weights=replicate[classes == c])
                        for c in (0, 1)
                    ]
                )
                for right in decided.values()
            )
            drops.append(s - t)
            if s - t > 1e-12:
                expected.append((m - t) / (s - t))
    assert drop["low"] > 0 > min(drops)
    assert [drop["low"], drop["high"]] == pytest.approx(np.quantile(drops, [0.025, 0.975]).tolist())
    (row,) = shares.to_dict("records")
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(expected, [0.025, 0.975]).tolist())


def test_joint_draws_of_galaxies_reduce_the_uncertainty_of_the_drop() -> None:
    baseline, adapted = domains(0.9, 0.6, 0.7)
    drop = won_back({"a": baseline, "b": adapted}, "a", 1000).drop

    def alone(role: str) -> Interval:
        part = baseline[baseline["role"] == role]
        wide = part.pivot(index="row", columns="seed", values="prediction").to_numpy().T
        first = part[part["seed"] == 5]
        return bootstrap(first["label"], wide, first["galaxy"], 1000)["balanced_accuracy"]

    assert width(drop) < 0.95 * np.hypot(width(alone("source")), width(alone("target")))


def without(frame: pd.DataFrame, wrong: Booleans | pd.Series) -> pd.DataFrame:
    return frame[~np.asarray(wrong)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: without(frame, frame["row"] == 100), "differ in row, expected the same"),
        (lambda frame: frame.assign(galaxy=frame["galaxy"] + 1), "differ in galaxy"),
        (lambda frame: frame.assign(domain="pristine"), "differ in domain"),
        (lambda frame: frame.assign(label=1 - frame["label"]), "differ in label"),
        (
            lambda frame: frame[frame["seed"] == 5],
            r"mmd was trained with seeds \[5\], source_only with \[5, 6\]",
        ),
        (lambda frame: frame.drop(columns="seed"), "mmd: no column seed"),
        (lambda frame: frame.assign(role="source"), "mmd: no predictions of the target's test"),
        (lambda frame: frame.assign(prediction=0.7), "mmd: prediction is neither 0 nor 1"),
    ],
)
def test_methods_that_cannot_be_paired_are_reported(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    methods = pair(16)
    methods["mmd"] = change(methods["mmd"])
    with pytest.raises(UserError, match=message) as raised:
        compare(methods, "source_only", 10)
    assert 1 <= str(raised.value).count("\n") + 1 <= 2


def test_the_seeds_of_one_method_must_have_the_same_images() -> None:
    methods = pair(17)
    frame = methods["source_only"]
    methods["source_only"] = without(frame, (frame["seed"] == 6) & (frame["row"] == 101))
    with pytest.raises(UserError, match="source_only, seed 6, and source_only, seed 5"):
        compare(methods, "source_only", 10)


def test_other_invalid_input_is_reported() -> None:
    methods = pair(18)
    with pytest.raises(UserError, match=r"'sourceonly', which is not one of the methods\.\n.*'source_only'"):
        compare(methods, "sourceonly", 10)
    one_class = {name: frame[frame["label"] == 1] for name, frame in methods.items()}
    with pytest.raises(UserError, match="one class only"):
        compare(one_class, "source_only", 10)
    with pytest.raises(UserError, match="no predictions of the source's test"):
        won_back(methods, "source_only", 10)
    baseline, adapted = domains(0.9, 0.6, 0.7)
    fewer = baseline[(baseline["role"] == "target") | (baseline["galaxy"] != 7)]
    with pytest.raises(UserError, match="differ in galaxies"):
        won_back({"a": fewer, "b": adapted}, "a", 10)


def test_a_whole_study_takes_seconds() -> None:
    rng = np.random.default_rng(19)
    methods = {f"method{place}": table(chances(rng, 0.7, 600, 5), 250, seeds=5) for place in range(12)}
    methods["method0"] = pd.concat(
        [methods["method0"], table(chances(rng, 0.9, 600, 5), 250, role="source", seeds=5)]
    )
    started = time.process_time()
    compare(methods, "method0")
    won_back(methods, "method0")
    assert time.process_time() - started < 15
