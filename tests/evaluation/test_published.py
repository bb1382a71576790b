import io
import math
import re

import pytest
from evaluation.samples import predictions
from rich.console import Console

from mergershift.evaluation import COUNTS, PUBLISHED, comparison_rows, comparison_table, evaluate


@pytest.mark.parametrize("domain", ["pristine", "noisy"])
def test_published_figures_agree_with_their_own_counts(domain: str) -> None:
    figures = PUBLISHED[domain]
    tn, fp, fn, tp = (figures[name].value for name in COUNTS)
    assert (tp + fn, tn + fp) == (1660, 1425)
    derived = {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
    assert {name: figures[name].value for name in derived} == pytest.approx(derived, abs=5.1e-4)
    for figure in figures.values():
        assert (figure.low is None) == (figure.high is None)
        assert figure.low is None or figure.low < figure.value < figure.high


def text(ours: dict) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(comparison_table(ours))
    return console.export_text()


def test_ours_stand_beside_theirs() -> None:
    scores = evaluate(predictions(), all_rows=True, resamples=50)["source"]["all_rows"]
    ours = {"pristine": scores}
    rows = {(row["domain"], row["metric"]): row for row in comparison_rows(ours)}
    assert rows["pristine", "auc"]["published_low"] == 0.852
    assert rows["pristine", "auc"]["ours"] == scores["auc"]["value"]
    assert rows["pristine", "auc"]["ours_high"] == scores["auc"]["high"]
    assert rows["noisy", "accuracy"]["ours"] is None
    assert rows["noisy", "accuracy"]["published"] == 0.756

    drawn = text(ours)
    line = next(each for each in drawn.splitlines() if "accuracy" in each)
    assert "0.793 [0.778, 0.807]" in line
    assert f"{scores['accuracy']['value']:.3f} [{scores['accuracy']['low']:.3f}" in line
    assert "0.756 [0.741, 0.771]" in line
    assert "–" in line
    images = next(each for each in drawn.splitlines() if "images" in each)
    assert re.findall(r"\d+", images) == ["3085", f"{scores['images']['value']:.0f}", "3085"]


def test_undefined_bounds_are_not_drawn() -> None:
    scores = evaluate(predictions(), all_rows=True, resamples=50)["source"]["all_rows"]
    scores["accuracy"] = {"value": 0.5, "low": math.nan, "high": math.nan}
    line = next(each for each in text({"pristine": scores}).splitlines() if "accuracy" in each)
    assert "0.500 " in line
    assert "nan" not in line


def test_unknown_domain_is_named() -> None:
    with pytest.raises(ValueError, match="no published figures for foggy, only for pristine, noisy"):
        comparison_rows({"foggy": {}})
    assert all(row["ours"] is None for row in comparison_rows({}))
