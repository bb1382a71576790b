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
from mergershift.evaluation.significance import holm

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
    (row,) = compare(methods, "source_only").to_dict("records")
    assert row["method"] == "mmd"
    assert row["difference"] == pytest.approx(balanced(methods["mmd"]) - balanced(methods["source_only"]))
    assert row["low"] < row["difference"] < row["high"]
    assert (row["images"], row["galaxies"], row["seeds"]) == (300, 100, 2)


def test_identical_methods_do_not_differ() -> None:
    methods = pair(1)
    found = compare(methods | {"twin": methods["source_only"].copy()}, "source_only").set_index("method")
    twin = found.loc["twin"]
    assert (twin["difference"], twin["p"], twin["p_holm"]) == (0, 1, 1)
    # That 100 galaxies show no difference does not prove that there is none in any other.
    assert 0.005 < twin["high"] == -twin["low"] < 0.03


@pytest.mark.parametrize("seed", range(4))
def test_p_and_interval_of_one_seed_are_those_of_welchs_test(seed: int) -> None:
    """With galaxies of equally many images, half the difference of scipy's two samples is the printed difference."""
    rng = np.random.default_rng([2, seed])
    right = {name: rng.random((60, CAMERAS)) < share for name, share in (("a", 0.5), ("b", 0.62))}
    methods = {name: table(decisions, mergers=20) for name, decisions in right.items()}
    (row,) = compare(methods, "a").to_dict("records")
    gained = right["b"].mean(axis=1) - right["a"].mean(axis=1)
    reference = stats.ttest_ind(gained[:20], -gained[20:], equal_var=False)
    bounds = reference.confidence_interval()
    assert row["p"] == pytest.approx(reference.pvalue)
    assert [row["low"], row["high"]] == pytest.approx([bounds.low / 2, bounds.high / 2])


def test_the_areas_difference_is_that_of_delong() -> None:
    """With one image for each galaxy, the variance of the difference is the published one, written out in loops."""
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [12, 15])
    chances = {name: rng.random(27) + strength * labels for name, strength in (("a", 0.2), ("b", 0.5))}
    decided = pd.DataFrame(
        {"seed": 0, "role": "target", "domain": "noisy", "row": range(27), "galaxy": range(27), "camera": 0}
    ).assign(label=labels, prediction=1)
    methods = {name: decided.assign(probability=chance / 2) for name, chance in chances.items()}
    (row,) = compare(methods, "a").to_dict("records")
    areas, of_mergers, of_others = {}, {}, {}
    for name, chance in chances.items():
        wins = np.array([[float(one > other) for other in chance[12:]] for one in chance[:12]])
        areas[name], of_mergers[name], of_others[name] = wins.mean(), wins.mean(axis=1), wins.mean(axis=0)
    variances = [np.var(part["b"] - part["a"], ddof=1) / len(part["a"]) for part in (of_mergers, of_others)]
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 11 + variances[1] ** 2 / 14)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(sum(variances))
    assert row["auc_difference"] == pytest.approx(areas["b"] - areas["a"])
    assert row["auc_difference_high"] - row["auc_difference"] == pytest.approx(half)


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
        ).to_dict("records")
        hits += row["low"] <= 0.1 <= row["high"]
    # 95 % of 100 is 95, with a standard deviation of 2.2.
    assert 88 <= hits <= 99


def test_rows_may_have_any_order_and_copies_do_not_count() -> None:
    methods = pair(8)
    expected = compare(methods, "source_only")
    copies = {
        name: pd.concat([frame, frame.assign(row=frame["row"] + 5000)]).sample(frac=1, random_state=1)
        for name, frame in methods.items()
    }
    pd.testing.assert_frame_equal(compare(copies, "source_only"), expected)


def test_balanced_accuracy_is_of_the_decisions_and_the_area_of_the_probabilities() -> None:
    methods = pair(9)
    named = ["difference", "low", "high", "p"]
    ranked = methods | {"mmd": methods["mmd"].assign(probability=methods["mmd"]["label"] * 0.1)}
    found, of_area = compare(methods, "source_only"), compare(ranked, "source_only")
    pd.testing.assert_frame_equal(found[named], of_area[named])
    assert (found["auc_difference"].item(), of_area["auc_difference"].item()) == (0, 0.5)


def test_the_table_is_empty_without_a_method_besides_the_baseline() -> None:
    found = compare({"source_only": pair(0)["source_only"]}, "source_only")
    assert found.empty
    assert "p_holm" in found


def test_a_single_galaxy_has_no_interval() -> None:
    rng = np.random.default_rng(10)
    methods = {name: table(rng.random((9, CAMERAS)) < 0.5, mergers=1) for name in "ab"}
    (row,) = compare(methods, "a").to_dict("records")
    assert np.isfinite(row["difference"])
    assert np.isnan(row["low"])
    assert np.isnan(row["high"])


def test_holm_by_hand() -> None:
    # The products are 0.01 x 4, 0.02 x 3, 0.03 x 2 (not smaller than the previous one) and 0.5 x 1.
    np.testing.assert_allclose(holm([0.03, 0.5, 0.01, 0.02]), [0.06, 0.5, 0.04, 0.06])
    np.testing.assert_allclose(holm([0.4, 0.9]), [0.8, 0.9])
    np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])
    assert holm([]).shape == (0,)


def test_p_is_corrected_for_the_number_of_methods() -> None:
    methods = pair(13) | {"coral": pair(14)["mmd"], "dann": pair(15, better=0.66)["mmd"]}
    found = compare(methods, "source_only")
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
    drop, _, p, shares = won_back(both, "source_only")
    assert p < 0.001
    of_role = {role: balanced(part) for role, part in baseline.groupby("role")}
    assert drop["value"] == pytest.approx(of_role["source"] - of_role["target"])
    assert drop["low"] < drop["value"] < drop["high"]
    (row,) = shares.to_dict("records")
    assert row["method"] == "mmd"
    assert row["won_back"] == pytest.approx((balanced(adapted) - of_role["target"]) / drop["value"])
    assert row["won_back_low"] < 0.5 < row["won_back_high"]
    assert row["won_back"] == pytest.approx(0.5, abs=0.1)


def test_a_method_may_win_back_all_nothing_or_less_than_nothing() -> None:
    baseline, _ = domains(0.9, 0.6, 0.7)
    source = baseline[baseline["role"] == "source"]
    methods = {
        "source_only": baseline,
        "perfect": source.assign(role="target", domain="noisy"),
        "same": baseline[baseline["role"] == "target"],
        "worse": domains(0.9, 0.6, 0.5)[1],
    }
    names = ["won_back", "won_back_low", "won_back_high"]
    shares = won_back(methods, "source_only").shares.set_index("method")[names].T.to_dict("list")
    # Method and baseline are paired, so these shares have hardly any uncertainty.
    assert shares["perfect"] == pytest.approx([1, 1, 1], abs=0.15)
    assert shares["same"] == pytest.approx([0, 0, 0], abs=0.15)
    assert (shares["perfect"][0], shares["same"][0]) == (1, 0)
    assert shares["worse"][2] < 0


@pytest.mark.parametrize("target", [0.69, 0.8])
def test_a_share_of_no_drop_is_undefined(target: float) -> None:
    baseline, adapted = domains(0.7, target, 0.75)
    baseline.loc[baseline["role"] == "target", "prediction"] = domains(0.7, target, 0.75, seed=3)[0].loc[
        lambda frame: frame["role"] == "target", "prediction"
    ]
    drop, _, _, shares = won_back({"a": baseline, "b": adapted}, "a")
    assert drop["low"] < 0
    assert np.isfinite(drop["high"])
    assert shares[["won_back", "won_back_low", "won_back_high"]].isna().all(axis=None)


def test_a_share_excludes_0_exactly_where_the_difference_does() -> None:
    baseline, _ = domains(0.9, 0.6, 0.7)
    methods = {"a": baseline} | {
        f"{better}": domains(0.9, 0.6, better)[1] for better in (0.55, 0.62, 0.66, 0.7)
    }
    found = compare(methods, "a").merge(won_back(methods, "a").shares)
    assert ((found["low"] > 0) == (found["won_back_low"] > 0)).all()
    assert set(found["low"] > 0) == {True, False}


def test_the_recoverable_share_is_that_of_what_a_reference_gains() -> None:
    baseline, adapted = domains(0.9, 0.6, 0.7)
    reference = domains(0.9, 0.6, 0.8)[1]
    both = {"source_only": baseline, "mmd": adapted}
    (row,) = won_back(both, "source_only", reference).shares.to_dict("records")
    gains = [
        balanced(frame) - balanced(baseline[baseline["role"] == "target"]) for frame in (adapted, reference)
    ]
    assert row["recovered"] == pytest.approx(gains[0] / gains[1])
    assert row["recovered_low"] < row["recovered"] < row["recovered_high"]
    assert row["recovered"] > row["won_back"]
    (alone,) = won_back(both, "source_only").shares.to_dict("records")
    assert np.isnan(alone["recovered"])
    (useless,) = won_back(both, "source_only", domains(0.9, 0.6, 0.55)[1]).shares.to_dict("records")
    assert np.isnan(useless["recovered"])


def test_pairing_reduces_the_uncertainty_of_the_drop() -> None:
    baseline, adapted = domains(0.9, 0.6, 0.7)
    drop = won_back({"a": baseline, "b": adapted}, "a").drop

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
        compare(methods, "source_only")
    assert 1 <= str(raised.value).count("\n") + 1 <= 2


def test_the_seeds_of_one_method_must_have_the_same_images() -> None:
    methods = pair(17)
    frame = methods["source_only"]
    methods["source_only"] = without(frame, (frame["seed"] == 6) & (frame["row"] == 101))
    with pytest.raises(UserError, match="source_only, seed 6, and source_only, seed 5"):
        compare(methods, "source_only")


def test_other_invalid_input_is_reported() -> None:
    methods = pair(18)
    with pytest.raises(UserError, match=r"'sourceonly', which is not one of the methods\.\n.*'source_only'"):
        compare(methods, "sourceonly")
    one_class = {name: frame[frame["label"] == 1] for name, frame in methods.items()}
    with pytest.raises(UserError, match="one class only"):
        compare(one_class, "source_only")
    with pytest.raises(UserError, match="no predictions of the source's test"):
        won_back(methods, "source_only")
    baseline, adapted = domains(0.9, 0.6, 0.7)
    fewer = baseline[(baseline["role"] == "target") | (baseline["galaxy"] != 7)]
    with pytest.raises(UserError, match="differ in galaxies"):
        won_back({"a": fewer, "b": adapted}, "a")


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
