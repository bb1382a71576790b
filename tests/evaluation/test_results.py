import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation.samples import STRUCTURE, part, predictions

from mergershift.core.errors import UserError
from mergershift.evaluation import (
    COUNTS,
    METRICS,
    evaluate,
    flat,
    join,
    read_results,
    score,
    table,
    unique_renderings,
    write_results,
)


def test_scores_of_unique_renderings_by_role() -> None:
    given = predictions()
    results = evaluate(given, resamples=100)
    assert list(results) == ["source", "target"]
    for role, kinds in results.items():
        assert list(kinds) == ["unique"]
        unique = unique_renderings(given[given["role"] == role])
        expected = score(unique["label"], unique["probability"])
        assert {name: kinds["unique"][name]["value"] for name in expected} == expected
        assert kinds["unique"]["images"] == {"value": 64}
        assert kinds["unique"]["galaxies"] == {"value": 16}
        assert kinds["unique"]["seeds"] == {"value": 1}


def test_all_rows_are_evaluated_on_request_only() -> None:
    results = evaluate(predictions(), all_rows=True, resamples=100)
    assert list(results["target"]) == ["unique", "all_rows"]
    assert results["target"]["all_rows"]["images"]["value"] == STRUCTURE.rows
    assert sum(results["target"]["all_rows"][name]["value"] for name in COUNTS) == STRUCTURE.rows


def test_flipped_copies_do_not_narrow_the_interval() -> None:
    given = predictions()
    first = given.groupby(["role", "galaxy", "camera"])["probability"].transform("first")
    results = evaluate(given.assign(probability=first), all_rows=True)["target"]
    widths = {kind: scores["recall"]["high"] - scores["recall"]["low"] for kind, scores in results.items()}
    assert widths["all_rows"] == pytest.approx(widths["unique"], abs=1e-9)


def test_one_role_is_enough() -> None:
    assert list(evaluate(join([part("target", "noisy")]), resamples=50)) == ["target"]


def test_order_of_rows_does_not_matter() -> None:
    given = predictions()
    shuffled = given.sample(frac=1, random_state=1)
    assert evaluate(shuffled, resamples=100) == evaluate(given, resamples=100)


def test_mean_over_seeds() -> None:
    tables = [predictions(seed) for seed in range(3)]
    together = join([given.assign(seed=seed) for seed, given in enumerate(tables)])
    found = evaluate(together, resamples=100)["target"]["unique"]
    single = [evaluate(given, resamples=2)["target"]["unique"]["auc"]["value"] for given in tables]
    assert found["auc"]["value"] == pytest.approx(np.mean(single))
    assert found["seeds"]["value"] == 3
    assert found["images"]["value"] == 64


def test_seeds_with_other_test_images_are_refused() -> None:
    first, second = (part("source", "pristine", seed).assign(seed=seed) for seed in (0, 1))
    with pytest.raises(UserError, match="seeds 0 and 1 differ in row"):
        evaluate(join([first, second.iloc[4:]]), resamples=10)
    second.loc[second["galaxy"] == 0, "label"] = 0
    with pytest.raises(UserError, match="seeds 0 and 1 differ in label"):
        evaluate(join([first, second]), resamples=10)


def test_flat_contains_only_defined_scores() -> None:
    one_class = part("target", "noisy")
    named = flat(evaluate(join([one_class[one_class["label"] == 1]]), resamples=50))
    assert (
        named["target.unique.recall.low"]
        <= named["target.unique.recall"]
        <= named["target.unique.recall.high"]
    )
    assert "target.unique.auc" not in named
    assert "target.unique.images.low" not in named
    assert all(math.isfinite(value) for value in named.values())


def test_the_files_contain_the_same_scores(tmp_path: Path) -> None:
    one_class = part("target", "noisy")
    results = evaluate(join([part("source", "pristine"), one_class[one_class["label"] == 1]]), resamples=50)
    write_results(results, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.json", "metrics.csv"}

    plain = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert plain["target"]["unique"]["auc"] == {"value": None, "low": None, "high": None}
    back = read_results(tmp_path)
    assert math.isnan(back["target"]["unique"]["auc"]["value"])
    assert back["source"] == results["source"]

    csv = pd.read_csv(tmp_path / "metrics.csv")
    columns = ["role", "rows", "metric", "value", "low", "high", "images", "galaxies", "seeds"]
    assert list(csv.columns) == columns
    assert list(csv["metric"]) == [*METRICS, *COUNTS] * 2
    line = csv[(csv["role"] == "source") & (csv["metric"] == "auc")].iloc[0]
    assert {name: line[name] for name in ("value", "low", "high")} == pytest.approx(
        results["source"]["unique"]["auc"]
    )
    assert (line["images"], line["galaxies"], line["seeds"]) == (64, 16, 1)
    pd.testing.assert_frame_equal(csv, table(results))


def test_unreadable_results_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json: no such file"):
        read_results(tmp_path)
    (tmp_path / "metrics.json").write_text('{"source": {')
    with pytest.raises(UserError, match=r"metrics\.json: not JSON"):
        read_results(tmp_path)


def test_decisions_are_made_at_each_seeds_own_threshold() -> None:
    """Scores of decisions use the thresholds in the table, which here are far from one half."""
    at = {0: 0.2, 1: 0.35, 2: 0.8}
    given = [predictions(seed).assign(seed=seed, threshold=threshold) for seed, threshold in at.items()]
    for tables in ([given[0]], given):
        found = evaluate(join(tables), resamples=20)["target"]["unique"]
        single = []
        for training in tables:
            unique = unique_renderings(training[training["role"] == "target"])
            single.append(score(unique["label"], unique["probability"], training["threshold"].iloc[0]))
        for name in single[0]:
            assert found[name]["value"] == pytest.approx(np.mean([scores[name] for scores in single])), name
        assert found["recall"]["low"] <= found["recall"]["value"] <= found["recall"]["high"]
