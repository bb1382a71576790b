"""The main figure: what source-only loses by the shift, and what each method gains over it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from mergershift.evaluation import ROLES
from mergershift.evaluation.conclusions import Conclusion, conclude, loses
from mergershift.report.study_results import Contender, Setting, StudyResults, in_setting
from mergershift.report.style import CARD, INK, MUTED, RULE
from mergershift.report.svg import panel
from mergershift.report.values import number

WIDTH = 4.0
FONT_SIZE = 10
"""In points. A figure of this width has text of 12 pixels on a phone of 390."""
ROW, LOW_ROW, MANY = 0.36, 0.26, 8
"""Height in inches of a row, of a row of many, and the number of methods from which these are many."""
FRAME = 0.9
"""Height in inches of all that is around the rows."""
CHANCE = 0.5
Spans = dict[tuple[Contender, str], tuple[float, float, float]]


def accuracies(setting: Setting, gathered: StudyResults) -> Spans:
    """Balanced accuracy with its bounds, by method and role of the domain, with the label-free choice of epochs."""
    spans: Spans = {}
    for contender in setting.contenders:
        for role in ROLES:
            row = gathered.metric(setting, contender, role, "balanced_accuracy")
            if row is not None:
                spans[contender, role] = (float(row["value"]), float(row["low"]), float(row["high"]))
    return spans


def common_limits(gathered: StudyResults) -> tuple[float, float]:
    """Limits of the axis of accuracy that all panels of the study share."""
    shown = [CHANCE]
    for setting in gathered.settings:
        for (contender, role), span in accuracies(setting, gathered).items():
            if role == "target" or contender.is_baseline:
                shown += [value for value in span if np.isfinite(value)]
    margin = 0.05 * (max(shown) - min(shown)) or 0.05
    return min(shown) - margin, max(shown) + margin


def overview(setting: Setting, gathered: StudyResults, limits: tuple[float, float]) -> Figure:
    """Draw the target accuracy of each method with its interval, against source-only before and after the shift.

    A symbol is filled if the corrected test supports the difference from source-only. On the right, what source-only
    loses and what each method gains over it.

    Args:
        setting: The filter set and direction.
        gathered: The study.
        limits: What `common_limits` returns.
    """
    spans = accuracies(setting, gathered)
    compared = in_setting(gathered.comparison, setting)
    places = _places(setting)
    height = ROW if len(places) < MANY else LOW_ROW
    figure, axes = panel(WIDTH, FRAME + height * (1 + max(places.values(), default=0)))
    baseline = setting.baseline
    reference = spans.get((baseline, "target")) if baseline else None
    if baseline is not None and reference is not None:
        _draw_loss(axes, baseline, spans, places[baseline])
    for contender, place in places.items():
        span = spans.get((contender, "target"))
        if span is None:
            continue
        row = gathered.compared(setting, contender)
        conclusion = Conclusion.OPEN if row is None else conclude(row)
        claimed = contender.is_baseline or conclusion is not Conclusion.OPEN
        if reference is not None and not contender.is_baseline:
            axes.plot(
                [reference[0], span[0]], [place] * 2, color=contender.style.light, linewidth=4, alpha=0.3
            )
        _draw_span(axes, contender, span, place, filled=claimed)
        if contender.is_baseline and len(compared):
            loss = compared.iloc[0]
            if np.isfinite(loss["drop"]):
                _write_change(axes, place, -float(loss["drop"]), claimed=loses(loss))
        elif row is not None:
            _write_change(axes, place, float(row["difference"]), claimed=claimed)
    # At the left edge of the figure, because the names take room that the longest titles need.
    axes.annotate(
        setting.title,
        (0.02, 1),
        xycoords=("figure fraction", "axes fraction"),
        xytext=(0, 7),
        textcoords="offset points",
        fontsize=FONT_SIZE,
        fontweight="bold",
    )
    _dress(axes, setting, places, limits)
    return figure


def _write_change(axes: Axes, place: float, change: float, *, claimed: bool) -> None:
    """Write a change of accuracy on the right of a row, in bold if it is supported."""
    axes.text(
        1.02,
        place,
        number(change, signed=True),
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=FONT_SIZE,
        color=INK.light if claimed else MUTED.light,
        fontweight="bold" if claimed else "normal",
    )


def _places(setting: Setting) -> dict[Contender, float]:
    """Position of each method from the top; a gap separates the oracles."""
    oracles = [contender for contender in setting.contenders if contender.is_oracle]
    places = {contender: float(index) for index, contender in enumerate(setting.label_free)}
    gap = 0.35 if places else 0.0
    return places | {contender: len(places) + gap + index for index, contender in enumerate(oracles)}


def _draw_loss(axes: Axes, baseline: Contender, spans: Spans, place: float) -> None:
    """Draw how far source-only falls, as a band behind all methods and as a line in its own row."""
    after = spans[baseline, "target"][0]
    axes.axvline(after, color=baseline.style.light, linewidth=0.9, linestyle=baseline.style.line)
    if (baseline, "source") not in spans:
        return
    before = spans[baseline, "source"]
    axes.axvspan(after, before[0], color=RULE.light, alpha=0.4, linewidth=0)
    axes.plot([before[0], after], [place] * 2, color=baseline.style.light, linewidth=4, alpha=0.3)
    _draw_span(axes, baseline, before, place, filled=False)


def _draw_span(
    axes: Axes, contender: Contender, span: tuple[float, float, float], place: float, *, filled: bool
) -> None:
    value, low, high = span
    colour = contender.style.light
    axes.plot([low, high], [place] * 2, color=colour, linewidth=1.6)
    axes.plot(
        value,
        place,
        contender.style.marker,
        color=colour,
        markerfacecolor=colour if filled else CARD.light,
        markeredgewidth=1.5,
        markersize=8,
    )


def _dress(axes: Axes, setting: Setting, places: dict[Contender, float], limits: tuple[float, float]) -> None:
    names = [
        "Oracle"
        if one.is_oracle and one.is_trained_on_target
        else one.name.replace("target labels", "oracle")
        for one in places
    ]
    axes.set_yticks(list(places.values()), names)
    for label, contender in zip(axes.get_yticklabels(), places, strict=True):
        label.set(color=INK.light, fontsize=FONT_SIZE)
        label.set_fontweight("bold" if contender is setting.best else "normal")
    lowest = max(places.values(), default=0.0)
    if any(contender.is_oracle for contender in places) and setting.label_free:
        axes.axhline(len(setting.label_free) - 0.5, color=MUTED.light, linewidth=0.6)
    axes.set(xlim=limits, ylim=(lowest + 0.65, -0.6))
    axes.axvline(CHANCE, color=MUTED.light, linewidth=0.9, linestyle=":")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=FONT_SIZE)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5]))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%.2g"))
    axes.set_xlabel(f"balanced accuracy on {setting.target} images", fontsize=FONT_SIZE)
