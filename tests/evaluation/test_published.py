import io
import math
import re

import pytest
from evaluation.samples import predictions
from rich.console import Console

from mergershift.evaluation import COUNTS, PUBLISHED, comparison_rows, comparison_table, evaluate


@pytest.mark.parametrize("domain", ["pristine", "noisy"])
def test_published_scores_agree_with_the_published_counts(domain: str) -> None:
    scores = PUBLISHED[domain]
    tn, fp, fn, tp = (scores[name].value for name in COUNTS)
    assert (tp + fn, tn + fp) == (1660, 1425)
    derived = {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
    assert {name: scores[name].value for name in derived} == pytest.approx(derived, abs=5.1e-4)
    for published in scores.values():
        assert (published.low is None) == (published.high is None)
        if published.low is not None and published.high is not None:
            assert published.low < published.value < published.high


def text(ours: dict) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison_table(ours))
    return console.export_text()


def test_our_scores_are_compared_with_the_published_ones() -> None:
    scores = evaluate(predictions(), all_rows=True, resamples=50)["source"]["all_rows"]
    ours = {"pristine": scores}
    rows = {(row["domain"], row["metric"]): row for row in comparison_rows(ours)}
    assert rows["pristine", "auc"]["published_low"] == 0.852
    assert rows["pristine", "auc"]["ours"] == scores["auc"]["value"]
    assert rows["pristine", "auc"]["ours_high"] == scores["auc"]["high"]
    assert rows["noisy", "accuracy"]["ours"] is None
    assert rows["noisy", "accuracy"]["published"] == 0.756

    drawn = text(ours)
    line = next(line for line in drawn.splitlines() if "accuracy" in line)
    assert "0.793 [0.778, 0.807]" in line
    assert f"{scores['accuracy']['value']:.3f} [{scores['accuracy']['low']:.3f}" in line
    assert "0.756 [0.741, 0.771]" in line
    assert "–" in line
    images = next(line for line in drawn.splitlines() if "images" in line)
    assert re.findall(r"\d+", images) == ["3085", f"{scores['images']['value']:.0f}", "3085"]


def test_undefined_bounds_are_omitted() -> None:
    scores = evaluate(predictions(), all_rows=True, resamples=50)["source"]["all_rows"]
    scores["accuracy"] = {"value": 0.5, "low": math.nan, "high": math.nan}
    line = next(line for line in text({"pristine": scores}).splitlines() if "accuracy" in line)
    assert "0.500 " in line
    assert "nan" not in line


def test_an_unknown_domain_is_reported() -> None:
    with pytest.raises(ValueError, match="no published scores for foggy, only for pristine, noisy"):
        comparison_rows({"foggy": {}})
    assert all(row["ours"] is None for row in comparison_rows({}))
