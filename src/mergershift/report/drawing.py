"""Figures on the page and in files: SVG that follows the page's colours, and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mergershift.report.looks import CARD, FONTS, INK, MUTED, PAGE, RULE, Look

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
    """A figure of the page, what it shows in words, and its caption."""

    name: str
    """Name of its files, and prefix of the ids in its SVG."""
    figure: Figure
    alt: str
    caption: str = ""


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


def save(drawing: Drawing, folder: Path, looks: Iterable[Look]) -> str:
    """Write ``<name>.png`` and ``<name>.svg`` into `folder`; return the SVG to put into the page.

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
    return inline(svg, drawing, looks)


def _plain(svg: str) -> str:
    """Without the metadata, and with fonts that any machine has."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS, svg)


def inline(svg: str, drawing: Drawing, looks: Iterable[Look]) -> str:
    """The SVG as a part of the page: ids of its own, its text as `alt`, and colours by the page's variables."""
    start = svg.index("<svg")
    body = svg[svg.index(">", start) + 1 :].strip()
    # A style element in an SVG holds for the whole page.
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body, count=1, flags=re.DOTALL)
    # Two stamps of the same pixels have the same id, to which nothing refers.
    body = re.sub(r' id="image[0-9a-f]+"', "", body)
    body = re.sub(r'\bid="', f'id="{drawing.name}-', body)
    body = re.sub(r"url\(#", f"url(#{drawing.name}-", body)
    body = re.sub(r'href="#', f'href="#{drawing.name}-', body)
    variables = {look.light: look.variable for look in (*looks, *PAGE)}
    body = re.sub(
        r"\b(fill|stroke): (#[0-9a-f]{6})",
        lambda found: f"{found[1]}: var(--{variables[found[2]]})" if found[2] in variables else found[0],
        body,
    )
    box = re.search(r'viewBox="([^"]+)"', svg[start:])
    assert box is not None, "matplotlib writes a viewBox"
    width = float(box[1].split()[2])
    title = drawing.alt.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return (
        f'<svg role="img" aria-label="{title}" viewBox="{box[1]}" style="max-width: {1.5 * width / 12:.1f}rem" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
    )
