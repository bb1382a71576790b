"""The name, hue, marker and line style of each method, the same on the whole page, for its light and dark scheme."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mergershift.evaluation.figures import COLOURS

FONTS = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Style:
    """How a method is drawn; `variable` is the name of its colour in the page's style sheet."""

    variable: str
    light: str
    dark: str
    marker: str
    line: Any


INK = Style("ink", "#1d2731", "#e6eaee", "", "-")
MUTED = Style("muted", "#5d6974", "#a3adb7", "", "-")
RULE = Style("rule", "#d5dade", "#3b444d", "", "-")
CARD = Style("card", "#fffffe", "#151a20", "", "-")
SOURCE = Style("source", COLOURS["source"], "#56b0ea", "o", "-")
TARGET = Style("target", COLOURS["target"], "#f0883e", "o", "-")
PAGE = (INK, MUTED, RULE, CARD, SOURCE, TARGET)

BASELINE = Style("m-source-only", "#6b7680", "#9fa9b3", "s", (0, (4, 1.5)))
ORACLE = Style("m-oracle", "#1d2731", "#e6eaee", "D", (0, (1, 1.2)))
# Hues after Okabe & Ito (2008), except the two of the domains; markers and line styles distinguish methods as well.
_HUES = (
    ("#00855f", "#2fc79b"),
    ("#b04a86", "#e497c4"),
    ("#a67c00", "#e0bd45"),
    ("#6a55bd", "#a995f2"),
    ("#2089ad", "#74cfee"),
    ("#9b3527", "#e58a7c"),
    ("#5b7f1c", "#a3cc5c"),
    ("#2b4f9e", "#8cb0f5"),
    ("#8c2a63", "#dd80b4"),
    ("#2f716c", "#7fc9c2"),
    ("#d23c6b", "#ff86a8"),
    ("#76553f", "#c9a58c"),
    ("#7b2fb0", "#cb96ee"),
    ("#3f7f3a", "#8fd08a"),
    ("#9a5b00", "#e8b27a"),
    ("#4a6a94", "#a9c1e2"),
)
_MARKERS = "o^vP<X>pdh*8H"
_ORACLE_MARKERS = "Ddos"
_LINES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (5, 1, 1, 1)), (0, (2.5, 1)))


def method_style(index: int) -> Style:
    """Style of the study's method with this index, not counting source-only and the oracle."""
    light, dark = _HUES[index % len(_HUES)]
    # The two lists differ in length, so that a hue that comes again has another marker and another line.
    marker = _MARKERS[index % len(_MARKERS)]
    line = _LINES[(index + index // len(_HUES)) % len(_LINES)]
    return Style(f"m-{index}", light, dark, marker, line)


def oracle_style(index: int) -> Style:
    """Style of the study's oracle with this index: all have the colour of the text, but each has its marker."""
    marker = _ORACLE_MARKERS[index % len(_ORACLE_MARKERS)]
    return replace(ORACLE, marker=marker)


_SPELT = {
    "adabn": "AdaBN",
    "cdan": "CDAN",
    "coral": "CORAL",
    "dann": "DANN",
    "deepmerge": "DeepMerge",
    "fisher": "Fisher",
    "lmmd": "LMMD",
    "mcc": "MCC",
    "mmd": "MMD",
    "resnet18": "ResNet18",
    "shot": "SHOT",
    "sidda": "SIDDA",
    "sinkhorn": "Sinkhorn",
    "uda": "UDA",
    "tent": "TENT",
}


def spelt(name: str) -> str:
    """Spell out a name from conf/ for readers: ``mmd_fisher_entropy`` becomes ``MMD Fisher entropy``."""
    text = " ".join(_SPELT.get(word, word) for word in name.split("_"))
    return text[:1].upper() + text[1:]
