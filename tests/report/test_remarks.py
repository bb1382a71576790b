"""Numbers that mislead on their own come with a sentence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from report.small_study import ORACLE_TRANSFER, contender, results, setting

from mergershift.report.remarks import distance_note, errors, interval_note

NONE, ALL = {0: (0, 0), 1: (0, 0)}, {0: (1, 1), 1: (1, 1)}
ALARMS, MISSES = {0: (1, 1, 0), 1: (1, 1)}, {0: (0, 0), 1: (0, 0, 1)}
OPEN = (0.1, 0.05, 0.15, 0.135)


def test_one_sided_classifications_are_named() -> None:
    contenders = [
        contender("source_only", NONE),
        contender("mmd", ALARMS),
        contender("coral", MISSES),
        contender("dann"),
        contender(ORACLE_TRANSFER, ALL),
    ]
    metrics = {("source_only", "auc"): 0.64}
    assert errors(*results([setting(contenders)], {"mmd": OPEN}, metrics)) == [
        "Source only calls every noisy image a non-merger: its threshold does not carry over, although it ranks "
        "mergers above non-mergers with an AUC of 0.640.",
        "MMD calls 67 % of the non-mergers mergers.",
        "CORAL calls 67 % of the mergers non-mergers.",
        "Oracle (target labels) calls every noisy image a merger.",
    ]


def test_methods_that_err_alike_share_a_sentence_and_an_auc_of_chance_is_no_ranking() -> None:
    contenders = [contender("source_only", NONE), contender("mmd", ALARMS), contender("dann", ALARMS)]
    both = [setting(contenders, filters=filters) for filters in ("two", "three")]
    study = results(both, {"mmd": OPEN}, {("source_only", "auc"): 0.505})
    assert errors(*study) == [
        "Source only calls every noisy image a non-merger: its threshold does not carry over.",
        "MMD and DANN call more than half of the non-mergers mergers.",
    ]
    assert errors(*study, among=["MMD"]) == [
        "MMD calls 67 % of the non-mergers mergers.",
    ]


def test_an_error_in_one_filter_set_names_it() -> None:
    two = setting([contender("mmd", ALARMS)])
    three = setting([contender("mmd")], filters="three")
    assert errors(*results([two, three], {})) == [
        "With two filters, MMD calls 67 % of the non-mergers mergers."
    ]
    three = setting([contender("mmd", MISSES)], filters="three")
    assert errors(*results([two, three], {})) == [
        "With two filters, MMD calls 67 % of the non-mergers mergers; with three filters, MMD calls 67 % of the "
        "mergers non-mergers."
    ]


@pytest.mark.parametrize(("p", "noted"), [(0.135, True), (0.01, False)])
def test_intervals_that_disagree_with_the_test_are_explained(p: float, noted: bool) -> None:
    contenders = [contender("source_only"), contender("mmd"), contender("dann")]
    study = results([setting(contenders)], {"mmd": (0.1, 0.05, 0.15, p), "dann": (0.1, -0.1, 0.3, 1.0)})
    assert (
        "correction of the test counts everything that this page claims" in interval_note(*study)
    ) == noted


@pytest.mark.parametrize(
    ("mmd", "proxy", "remark"),
    [
        (0.05, 1.95, "disagree on MMD (0.520 to 0.050): MMD² falls by more than half"),
        (0.05, 0.2, ""),
        (0.5, 0.5, "disagree on MMD (1.92 to 0.50): the proxy A-distance falls by more than half"),
    ],
)
def test_distances_that_disagree_are_commented(mmd: float, proxy: float, remark: str) -> None:
    contenders = [contender("source_only"), contender("mmd")]
    shifts: list[Any] = [
        SimpleNamespace(contender=contenders[0], mmd=(0.52,), proxy_a=(1.92,)),
        SimpleNamespace(contender=contenders[1], mmd=(mmd,), proxy_a=(proxy,)),
    ]
    note = distance_note({setting(contenders): shifts})
    assert remark in note
    assert bool(note) == bool(remark)
