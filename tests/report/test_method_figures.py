"""Curves of many methods show the leading ones, and all of a few."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from report.small_study import ORACLE_TRANSFER, contender, setting

from mergershift.report.method_figures import MOST_CURVES, reliability_curves, roc_curves
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import BASELINE, MUTED, ORACLE

OTHERS = ("coral", "dann", "cdan", "fisher", "mcc", "adabn", "sinkhorn")


def predicted(name: str, seed: int) -> Contender:
    """A method with random predictions of 300 galaxies."""
    labels = {0: (0,) * 200, 1: (1,) * 100}
    method = contender(name, labels)
    target = method.first.target
    rng = np.random.default_rng(seed)
    target["probability"] = 0.3 * target["label"] + 0.7 * rng.random(len(target))
    return replace(method, trainings=(method.first,))


def study(others: int) -> Setting:
    names = ["source_only", "mmd", *OTHERS[:others], ORACLE_TRANSFER]
    return setting([predicted(name, seed) for seed, name in enumerate(names)])


@pytest.mark.parametrize("draw", [roc_curves, reliability_curves])
def test_many_curves_highlight_the_best_source_only_and_the_oracle(draw: Callable[[Setting], Figure]) -> None:
    figure = draw(study(len(OTHERS)))
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["Source only", "MMD", "Oracle (target labels)", f"{len(OTHERS)} other methods"]
    lines = figure.axes[0].lines[1:]
    grey = [line for line in lines if line.get_alpha() is not None]
    assert len(lines) == 3 + len(OTHERS)
    assert len(grey) == len(OTHERS)
    assert {to_hex(line.get_color()) for line in grey} == {MUTED.light}
    bright = [line for line in lines if line not in grey]
    assert max(line.get_zorder() for line in grey) < min(line.get_zorder() for line in bright)
    assert {to_hex(line.get_color()) for line in bright} >= {BASELINE.light, ORACLE.light}


@pytest.mark.parametrize("draw", [roc_curves, reliability_curves])
def test_few_curves_are_all_named(draw: Callable[[Setting], Figure]) -> None:
    few = study(MOST_CURVES - 3)
    figure = draw(few)
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == [method.name for method in few.contenders]
    assert all(line.get_alpha() is None for line in figure.axes[0].lines)


def test_a_single_other_method_is_not_in_the_plural() -> None:
    methods = study(MOST_CURVES - 3).contenders
    oracles = [replace(methods[-1], name=f"Oracle {number}") for number in range(2)]
    figure = roc_curves(setting([*methods[:3], *oracles, *oracles]))
    assert figure.legends[0].get_texts()[-1].get_text() == "another method"
