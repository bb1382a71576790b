"""Lays out a figure by the lengths of its texts: matplotlib's layout takes longer than to draw the figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

from mergershift.report.style import INK
from mergershift.report.svg import PHONE, STRIP

EDGE, GAP = 4.0, 9.0
"""Distances in points from the figure's edge to the next text, and from an axis to the numbers beside it."""
LINE = 1.25 * PHONE
"""Height of a line of text in points."""
BETWEEN = 12.0
"""Distance in points between axes below each other."""


def lay_out(figure: Figure, title: str, legend: Sequence[Line2D] = (), **style: Any) -> None:
    """Place a title, axes below each other and a legend of two columns, with room for the note that `mark` writes.

    The axes share their horizontal axis, and only the last has a label and numbers there.

    Args:
        figure: a figure with its axes, in the order from the top, and all that is drawn in them.
        title: title of the figure, which is set smaller if it is wider than the figure.
        legend: entries of the legend; without them, there is none.
        style: options of the legend.
    """
    panels = figure.axes
    width, height = (72 * inches for inches in figure.get_size_inches())
    entries = LINE * -(-len(legend) // 2)
    top = EDGE + 1.5 * LINE
    bottom = STRIP + (entries + 2 * EDGE if legend else 0) + 2 * LINE + GAP
    tall = (height - top - bottom - BETWEEN * (len(panels) - 1)) / len(panels)
    # The height comes first, because the numbers beside an axis, and so their width, depend on it.
    figure.subplots_adjust(bottom=bottom / height, top=1 - top / height, hspace=BETWEEN / tall)
    left = EDGE + LINE + max(length for axes in panels for _, length in _numbers(axes.yaxis)) + GAP
    right = 2 * EDGE
    # The last number may reach beyond the end of its axis.
    right += max(
        length / 2 - (1 - place) * (width - left - right) - EDGE
        for place, length in _numbers(panels[-1].xaxis)
    )
    figure.subplots_adjust(left=left / width, right=1 - max(right, 2 * EDGE) / width)
    for axes in panels:
        middle = axes.get_position().y0 + tall / 2 / height
        axes.yaxis.set_label_coords((EDGE + LINE / 2) / width, middle, figure.transFigure)
        axes.yaxis.label.set(va="center")
    _write_title(figure, title, left)
    if legend:
        place = (0.5, STRIP / height)
        figure.legend(
            handles=legend,
            loc="lower center",
            ncols=2,
            bbox_to_anchor=place,
            borderpad=0,
            labelspacing=0.25,
            **style,
        )


def _write_title(figure: Figure, title: str, left: float) -> None:
    """Write the title above the axes, `left` points from the edge, or from the edge itself if it is long."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    length = text_width(title, weight="bold")
    place = max(min(left, width - EDGE - length), EDGE)
    size = PHONE * min(1.0, (width - 2 * EDGE) / length)
    figure.text(
        place / width,
        1 - (EDGE + LINE / 2) / height,
        title,
        va="center",
        fontsize=size,
        fontweight="bold",
        color=INK.light,
    )


def _numbers(axis: Axis) -> list[tuple[float, float]]:
    """Place of each number of an axis, as a fraction of its length, and width in points; (0, 0) if there is none."""
    low, high = sorted(axis.get_view_interval())
    places = axis.get_majorticklocs()
    numbers = axis.get_major_formatter().format_ticks(places.tolist())
    shown = [(place, number) for place, number in zip(places, numbers, strict=True) if low <= place <= high]
    return [((place - low) / (high - low), text_width(number)) for place, number in shown] or [(0.0, 0.0)]


def text_width(text: str, weight: str = "normal") -> float:
    """Width in points of a text of the size `PHONE`, rounded up for renderers that fit letters to pixels."""
    font = FontProperties(family="DejaVu Sans", weight=weight, size=PHONE)
    return 1.03 * float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])
