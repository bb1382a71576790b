"""The main figure shows the order of the results, the supported differences and the loss."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from report.small_study import ORACLE_TRANSFER, Compared, contender, results, setting

from mergershift.report.overview_figure import CHANCE, common_limits, overview
from mergershift.report.style import CARD

GAIN, OPEN = (0.1, 0.05, 0.15, 0.01), (-0.05, -0.1, 0.02, 0.4)
METRICS = {
    (name, "balanced_accuracy"): value
    for name, value in {"source_only": 0.55, "mmd": 0.65, "coral": 0.5, ORACLE_TRANSFER: 0.8}.items()
}
COMPARED: dict[str, Compared] = {"mmd": GAIN, "coral": OPEN, ORACLE_TRANSFER: (0.25, 0.2, 0.3, 0.001)}


def drawn(loss: tuple[float, float, float] = (0.2, 0.1, 0.3)) -> Axes:
    methods = [contender(name) for name in ("source_only", "mmd", "coral", ORACLE_TRANSFER)]
    one = setting(methods)
    _, gathered = results([one], COMPARED, METRICS, loss)
    return overview(one, gathered, common_limits(gathered)).axes[0]


def test_methods_are_in_the_given_order_and_the_chosen_one_is_bold() -> None:
    labels = drawn().get_yticklabels()
    assert [label.get_text() for label in labels] == ["Source only", "MMD", "CORAL", "Oracle"]
    assert [label.get_fontweight() for label in labels] == ["normal", "bold", "normal", "normal"]
    places = drawn().get_yticks()
    assert sorted(places) == list(places)


@pytest.mark.parametrize(
    ("loss", "text", "weight"),
    [((0.2, 0.1, 0.3), "−0.200", "bold"), ((-0.02, -0.1, 0.1), "+0.020", "normal")],
)
def test_changes_are_signed_and_bold_if_supported(
    loss: tuple[float, float, float], text: str, weight: str
) -> None:
    written = {label.get_text(): label.get_fontweight() for label in drawn(loss).texts}
    title = written.pop("F814W, F160W: pristine → noisy")
    assert title == "bold"
    assert written == {text: weight, "+0.100": "bold", "−0.050": "normal", "+0.250": "bold"}


def test_symbols_are_filled_if_the_difference_is_supported() -> None:
    symbols = {
        float(np.asarray(line.get_xdata())[0]): line.get_markerfacecolor() != CARD.light
        for line in drawn().lines
        if line.get_marker() not in ("None", "")
    }
    assert symbols == {0.55: True, 0.65: True, 0.5: False, 0.8: True}


def test_all_panels_share_limits_that_include_chance() -> None:
    methods = [contender("source_only"), contender("mmd")]
    metrics = {("source_only", "balanced_accuracy"): 0.7, ("mmd", "balanced_accuracy"): 0.9}
    _, gathered = results([setting(methods), setting(methods, filters="three")], {}, metrics)
    low, high = common_limits(gathered)
    assert low < CHANCE < 0.91 < high
