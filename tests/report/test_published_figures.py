"""Scores over all test rows beside the published ones."""

from __future__ import annotations

import pandas as pd
import pytest

from mergershift.report.published_figures import PROTOCOL_2021, all_rows


def transfer(split: str = PROTOCOL_2021, rows: tuple[str, ...] = ("unique", "all_rows")) -> pd.DataFrame:
    """Two methods, whose accuracies can be recognised."""
    names = {"filters": "three", "source": "pristine", "target": "noisy", "transfer": "pristine_to_noisy"}
    lines = []
    for method, (adaptation, experiment) in enumerate(
        (("source_only", "default"), ("dann_2021", "dann_2021"))
    ):
        for choice, shift in (("label_free", 0.0), ("oracle", 0.5)):
            for role, base in (("source", 0.2), ("target", 0.1)):
                for kind in rows:
                    for metric in ("accuracy", "balanced_accuracy"):
                        value = (
                            base + 0.01 * method + 0.002 * (kind == "unique") + 0.005 * (metric == "accuracy")
                        )
                        lines.append(
                            {
                                **names,
                                "adaptation": adaptation,
                                "experiment": experiment,
                                "choice": choice,
                                "role": role,
                                "rows": kind,
                                "metric": metric,
                                "value": value + shift,
                                "low": value - 0.05,
                                "high": value + 0.05,
                                "split": split,
                            }
                        )
    return pd.DataFrame(lines)


def test_all_rows_are_set_beside_the_published_accuracy_and_each_rendering_once() -> None:
    plain, adversarial = all_rows(transfer())
    assert (plain.method, plain.source.text, plain.target.text) == ("source_only", "0.205", "0.105")
    assert (plain.published, plain.balanced.text) == ("0.53", "0.102")
    assert (adversarial.method, adversarial.target.text) == ("dann_2021", "0.115")
    assert adversarial.published == "0.70"
    assert plain.target.bounds == "[0.055, 0.155]"


@pytest.mark.parametrize("split", ["published_leaky, shared domains", "by_galaxy, shared domains"])
def test_nothing_is_set_beside_scores_under_another_split(split: str) -> None:
    assert {row.published for row in all_rows(transfer(split))} == {"–"}


def test_a_study_without_all_rows_has_no_such_table() -> None:
    assert all_rows(transfer(rows=("unique",))) == []
