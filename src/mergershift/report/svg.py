"""Figures on the page and in files: SVG that follows the page's colours, and PNG."""

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
"""Inches of a figure that is as wide as a phone: at that width its letters keep their size."""
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
    """A figure of the page, and what it shows in words."""

    name: str
    """Name of its files."""
    figure: Figure
    alt: str


@contextmanager
def style() -> Iterator[None]:
    """The page's style of figures, for drawing and for saving."""
    with matplotlib.rc_context(_STYLE):
        yield


def panel(width: float = PANEL[0], height: float = PANEL[1]) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def mark(figure: Figure, note: str) -> None:
    """Write `note`, for instance that the images are a mock's, above the figure's right end."""
    strip = 0.13 / figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, 0, 1, 1 - strip))
    figure.text(0.995, 0.998, note, ha="right", va="top", fontsize=6, color=MUTED.light, fontweight="bold")


def save(drawing: Drawing, folder: Path, looks: Iterable[Style], place: int) -> str:
    """Write ``<name>.png`` and ``<name>.svg`` into `folder`; return the SVG to put into the page.

    `place` is the figure's number on the page, which keeps its ids apart from others'.

    The files and the page's SVG are the same for the same figure: they hold neither date nor version.
    """
    figure = drawing.figure
    figure.set_dpi(DPI)
    # The canvases' own methods draw once; savefig lays out and draws again and again.
    FigureCanvasAgg(figure).print_png(folder / f"{drawing.name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    svg = _plain(text.getvalue())
    (folder / f"{drawing.name}.svg").write_text(svg)
    return inline(svg, drawing, looks, place)


def _plain(svg: str) -> str:
    """Without the metadata, and with fonts that any machine has."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS, svg)


def inline(svg: str, drawing: Drawing, looks: Iterable[Style], place: int) -> str:
    """The SVG as a part of the page: ids of its own, its text as `alt`, and colours by the page's variables."""
    start = svg.index("<svg")
    box = re.search(r'viewBox="([^"]+)"', svg[start:])
    assert box is not None, "matplotlib writes a viewBox"
    body = svg[svg.index(">", start) + 1 :].strip()
    # A style element in an SVG holds for the whole page.
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body, count=1, flags=re.DOTALL)
    # Only what is referred to keeps its id: the others are many, and not always different.
    wanted = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(
        r' id="([^"]*)"', lambda found: f' id="f{place}-{found[1]}"' if found[1] in wanted else "", body
    )
    body = re.sub(r"url\(#", f"url(#f{place}-", body)
    body = re.sub(
        r'xlink:href="(#?)', lambda found: f'href="{found[1]}' + f"f{place}-" * bool(found[1]), body
    )
    variables = {look.light: look.variable for look in (*looks, *PAGE)}
    body = re.sub(
        r"\b(fill|stroke): (#[0-9a-f]{6})",
        lambda found: f"{found[1]}: var(--{variables[found[2]]})" if found[2] in variables else found[0],
        body,
    )
    width = float(box[1].split()[2])
    return (
        f'<svg role="img" aria-label="{escape(drawing.alt)}" viewBox="{box[1]}" '
        f'style="max-width: {1.5 * width / 12:.1f}rem">{_compact(body)}'
    )


def _compact(body: str) -> str:
    """Half as many characters for the same picture: no blanks, fonts by the page, points that share their style."""
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^>]+>", lambda found: _compact_tag(found[0]), body)
    body = re.sub(r">\s+<", "><", body)
    return re.sub(r'(?:<use [^>]*? style="[^"]*"/>){2,}', lambda found: _grouped(found[0]), body)


def _compact_tag(tag: str) -> str:
    if "data:image" in tag:
        return re.sub(r"\n", "", tag)
    tag = re.sub(r"font-family: [^;\"]*;", "", tag)
    tag = re.sub(r"\s+", " ", tag)
    # In paths and places only: labels are no tags, and a matrix needs its digits.
    return re.sub(
        r'( (?:d|x|y)=")([^"]*)"',
        lambda found: found[1] + re.sub(r"(\.\d\d)\d+", r"\1", found[2]).strip() + '"',
        tag,
    )


def _grouped(points: str) -> str:
    """Points in a row, with the styles that several have in common said once."""
    parts = re.findall(r'(<use [^>]*?) style="([^"]*)"/>', points)
    groups = groupby(parts, key=lambda part: part[1])
    return "".join(
        f'<g style="{look}">{"".join(f"{point}/>" for point, _ in members)}</g>' for look, members in groups
    )
