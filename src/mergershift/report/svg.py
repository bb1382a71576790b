"""Figures on the page and in files: SVG that adopts the page's colours, and PNG of those that are worth it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
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

from mergershift.report.inline_svg import inline
from mergershift.report.style import CARD, FONTS, INK, MUTED, PAGE, RULE, Style

PANEL = (4.6, 3.9)
"""Width and height in inches of a figure that fits a phone, so that its text need not be scaled down there."""
PHONE = 11.1
"""Size of text in points that a phone of 390 pixels shows at 12 pixels in a figure as wide as `PANEL`."""
TEXT = 8.5
"""Smallest size of text in points, for labels of small images: on such a phone about nine pixels."""
STRIP = 13.0
"""Height in points of the strip below a figure for the note on the images' provenance."""
DPI = 160

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED.light,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "both",
    "axes.axisbelow": True,
    "axes.labelcolor": INK.light,
    "axes.labelsize": PHONE,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": PHONE,
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
    "legend.fontsize": PHONE,
    "legend.frameon": False,
    "legend.labelcolor": INK.light,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "mergershift",
    "text.color": INK.light,
    "xtick.color": MUTED.light,
    "xtick.labelsize": PHONE,
    "ytick.color": MUTED.light,
    "ytick.labelsize": PHONE,
}


@dataclass(frozen=True)
class Drawing:
    """A figure of the page and its text alternative."""

    name: str
    """Name of its files, without extension."""
    figure: Callable[[], Figure]
    """Creates the figure."""
    alt: str
    """Description for readers who cannot see the figure."""
    png: bool
    """Whether it is saved as PNG in addition to SVG."""


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
    """Write `note` in the bottom right corner of the figure, for instance that the images are from a mock."""
    strip = STRIP / 72 / figure.get_figheight()
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(rect=(0, strip, 1, 1 - strip))
    figure.text(
        0.995, 0.002, note, ha="right", va="bottom", fontsize=TEXT, color=MUTED.light, fontweight="bold"
    )


def save(drawing: Drawing, note: str, folder: Path, styles: Iterable[Style], number: int) -> str:
    """Create a figure, `mark` it and write ``<name>.svg`` to `folder`; returns the SVG to put into the page.

    ``<name>.png`` is written as well if the drawing says so. `number` is the figure's number on the page and makes its
    ids unique. The same figure always gives the same files and the same SVG, because they contain neither date nor
    version.
    """
    figure = drawing.figure()
    mark(figure, note)
    figure.set_dpi(DPI)
    if drawing.png:
        # The methods of the canvases draw only once, while savefig repeats layout and drawing.
        FigureCanvasAgg(figure).print_png(folder / f"{drawing.name}.png", metadata={"Software": None})
        figure.set_layout_engine("none")
    svg = _svg(figure)
    (folder / f"{drawing.name}.svg").write_text(svg)
    return _inline(svg, drawing.alt, styles, number)


def embedded(figure: Figure, alt: str, number: int) -> str:
    """Return a figure as SVG to put into a page that has no files; see `Drawing` and `save` for the arguments."""
    figure.set_dpi(DPI)
    return _inline(_svg(figure), alt, (), number)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Creator": None})
    return _plain(text.getvalue())


def _inline(svg: str, alt: str, styles: Iterable[Style], number: int) -> str:
    return inline(svg, alt, {style.light: style.variable for style in (*styles, *PAGE)}, number)


def _plain(svg: str) -> str:
    """Remove the metadata, and name fonts that every machine has."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'(, [^;\"]*)?", FONTS, svg)
