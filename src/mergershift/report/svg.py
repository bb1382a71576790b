"""Figures on the page and in files: SVG that adopts the page's colours, and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mergershift.report.style import CARD, FONTS, INK, MUTED, PAGE, RULE, Style

PANEL = (4.6, 3.9)
"""Width and height in inches of a figure that fits a phone, so that its text need not be scaled down there."""
DPI = 160

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "both",
    "axes.axisbelow": True,
    "axes.labelcolor": INK.light,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK.light,
    "figure.dpi": 100,
    "figure.facecolor": CARD.light,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": RULE.light,
    "grid.linewidth": 0.6,
    "image.composite_image": False,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.labelcolor": INK.light,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "mergershift",
    "text.color": INK.light,
    "xtick.color": MUTED.light,
    "xtick.labelsize": 8.5,
    "ytick.color": MUTED.light,
    "ytick.labelsize": 8.5,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page and its text alternative."""

    name: str
    """Name of its files, without extension."""
    figure: Figure
    alt: str
    """Description for readers who cannot see the figure."""


@contextmanager
def style() -> Iterator[None]:
    """Apply the style of the page's figures while they are drawn and saved."""
    with matplotlib.rc_context(_STYLE):
        yield


def panel(width: float = PANEL[0], height: float = PANEL[1]) -> tuple[Figure, Axes]:
    """Create a figure with a single pair of axes; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def mark(figure: Figure, note: str) -> None:
    """Write `note` above the top right corner of the figure, for instance that the images are from a mock."""
    strip = 0.13 / figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, 1 - strip))
    figure.text(0.995, 0.998, note, ha="right", va="top", fontsize=6, color=MUTED.light, fontweight="bold")


def save(drawing: Drawing, folder: Path, styles: Iterable[Style], number: int) -> str:
    """Write ``<name>.png`` and ``<name>.svg`` to `folder`; returns the SVG to put into the page.

    `number` is the figure's number on the page and makes its ids unique. The same figure always gives the same
    files and the same SVG, because they contain neither date nor version.
    """
    figure = drawing.figure
    figure.set_dpi(DPI)
    # The methods of the canvases draw only once, while savefig repeats layout and drawing.
    FigureCanvasAgg(figure).print_png(folder / f"{drawing.name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    svg = _plain(text.getvalue())
    (folder / f"{drawing.name}.svg").write_text(svg)
    return inline(svg, drawing, styles, number)


def _plain(svg: str) -> str:
    """Remove the metadata, and name fonts that every machine has."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS, svg)


def inline(svg: str, drawing: Drawing, styles: Iterable[Style], number: int) -> str:
    """Convert an SVG for the page: with unique ids, its text alternative, and the page's variables as colours."""
    start = svg.index("<svg")
    box = re.search(r'viewBox="([^"]+)"', svg[start:])
    assert box is not None, "matplotlib writes a viewBox"
    body = svg[svg.index(">", start) + 1 :].strip()
    # A style element inside an SVG would apply to the whole page.
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body, count=1, flags=re.DOTALL)
    # Only elements that are referred to keep their ids: the other ids are numerous and not always unique.
    wanted = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(
        r' id="([^"]*)"', lambda match: f' id="f{number}-{match[1]}"' if match[1] in wanted else "", body
    )
    body = re.sub(r"url\(#", f"url(#f{number}-", body)
    body = re.sub(
        r'xlink:href="(#?)', lambda match: f'href="{match[1]}' + f"f{number}-" * bool(match[1]), body
    )
    variables = {style.light: style.variable for style in (*styles, *PAGE)}
    body = re.sub(
        r"\b(fill|stroke): (#[0-9a-f]{6})",
        lambda match: f"{match[1]}: var(--{variables[match[2]]})" if match[2] in variables else match[0],
        body,
    )
    width = float(box[1].split()[2])
    return (
        f'<svg role="img" aria-label="{escape(drawing.alt)}" viewBox="{box[1]}" '
        f'style="max-width: {1.5 * width / 12:.1f}rem">{_compact(body)}'
    )


def _compact(body: str) -> str:
    """Halve the size of the same figure: no blanks, the page's fonts, and a shared style for consecutive points."""
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", lambda match: _compact_tag(match[0]), body)
    body = re.sub(r">\s+<", "><", body)
    return re.sub(r'(?:<use [^>]*? style="[^"]*"/>){2,}', lambda match: _grouped(match[0]), body)


def _compact_tag(tag: str) -> str:
    if "data:image" in tag:
        return re.sub(r"\n", "", tag)
    tag = re.sub(r"font-family: [^;\"]*;", "", tag)
    tag = re.sub(r"\s+", " ", tag)
    # Round paths and positions only, because a matrix needs all its digits.
    return re.sub(
        r'( (?:d|x|y)=")([^"]*)"',
        lambda match: match[1] + re.sub(r"(\.\d\d)\d+", r"\1", match[2]).strip() + '"',
        tag,
    )


def _grouped(points: str) -> str:
    """Group consecutive points of the same style, so that the style is written once."""
    parts = re.findall(r'(<use [^>]*?) style="([^"]*)"/>', points)
    groups = groupby(parts, key=lambda part: part[1])
    return "".join(
        f'<g style="{style}">{"".join(f"{point}/>" for point, _ in members)}</g>' for style, members in groups
    )
