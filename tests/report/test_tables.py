"""Tables have filter sets side by side, and give no agreement that would be noise."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from report.small_study import contender, results, setting

from mergershift.report.tables import MethodRow, comparison_rows, side_by_side
from mergershift.report.validator_table import shown_columns, validator_rows
from mergershift.report.values import NONE, Value


def test_methods_are_side_by_side_whatever_is_missing() -> None:
    source_only, mmd = contender("source_only"), contender("mmd")
    two, three = setting([source_only, mmd]), setting([mmd], filters="three")
    rows = [
        [MethodRow(source_only, [Value("a")]), MethodRow(mmd, [Value("b")], chosen=True)],
        [MethodRow(mmd, [Value("c")], chosen=False)],
    ]
    wide = side_by_side((two, three), rows)
    assert [row.contender.name for row in wide] == ["Source only", "MMD"]
    assert [[value.text for part in row.parts for value in part.values] for row in wide] == [
        ["a", NONE],
        ["b", "c"],
    ]
    assert [row.tag for row in wide] == ["", "chosen: two filters"]
    rows[1] = [MethodRow(mmd, [Value("c")], chosen=True)]
    assert side_by_side((two, three), rows)[1].tag == "chosen"


@pytest.mark.parametrize(
    ("p", "conclusion", "share"), [(0.01, "gain", "50 %"), (0.2, "not distinguishable", NONE)]
)
def test_a_share_is_given_for_a_supported_gain_only(p: float, conclusion: str, share: str) -> None:
    one = setting([contender("source_only"), contender("mmd")])
    _, gathered = results([one], {"mmd": (0.1, 0.05, 0.15, p)})
    (row,) = comparison_rows(one, gathered)
    assert [value.text for value in row.values] == ["+0.100", f"{p:.3f}", conclusion, share, NONE]
    assert row.values[1].bounds == "(0.001)"


@pytest.mark.parametrize(
    ("kept", "agreements"), [(4, [NONE, NONE]), (6, [NONE, "0.50"]), (10, ["0.16", "0.50"])]
)
def test_an_agreement_among_few_networks_is_not_given(kept: int, agreements: list[str]) -> None:
    training: Any = SimpleNamespace(validators=pd.DataFrame({"epoch": range(kept)}))
    contenders = [
        dataclasses.replace(contender(name), trainings=(training,)) for name in ("source_only", "mmd")
    ]
    names = {"filters": "two", "source": "pristine", "target": "noisy", "validator": "target_entropy"}
    table = pd.DataFrame(
        [
            {**names, "among": "epochs", "agreement": 0.158, "agreement_std": 1.09, "regret": 0.02},
            {**names, "among": "networks", "agreement": 0.5, "agreement_std": float("nan"), "regret": 0.1},
        ]
    )
    (row,) = validator_rows(setting(contenders), table)
    assert [row.values[0].text, row.values[2].text] == agreements
    assert [row.values[1].text, row.values[3].text] == ["0.020", "0.100"]
    assert row.named
    assert len(shown_columns([[row]])) == 4 - agreements.count(NONE)
    if kept == 10:
        assert row.values[0].bounds == "± 1.09"
        # Fisher's transformation of 0.5 among 20 networks.
        assert row.values[2].bounds == "[0.05, 0.78]"
