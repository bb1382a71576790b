"""The colour of a method in MLflow's lists and charts, the same on every server."""

from __future__ import annotations

import colorsys
import hashlib

ORACLE, SOURCE_ONLY = "#1d2731", "#6b7680"
COLOURS = {
    "source_only": SOURCE_ONLY,
    "mmd": "#00855f",
    "coral": "#b04a86",
    "entropy": "#a67c00",
    "dann": "#6a55bd",
    "cdan": "#2089ad",
    "fisher": "#9b3527",
    "mcc": "#5b7f1c",
    "adabn": "#2b4f9e",
    "sinkhorn": "#8c2a63",
    "sidda": "#2f716c",
    "mmd_median": "#d23c6b",
    "mmd_fisher_entropy": "#76553f",
    "noise_injection": "#7b2fb0",
    "dann_deepmerge_2": "#d95f02",
    "dann_2021": "#b8651b",
    "dann_fisher_2021": "#8f5a2a",
    "mmd_fisher_2021": "#4f8f73",
    "lmmd": "#1f7a4d",
    "energy_distance": "#c2541b",
    "partial_transport": "#4b5fc4",
    "deep_astro_uda": "#0c7c8c",
    "ada_match": "#1f6f8b",
    "realism": "#a05cc9",
    "shot": "#4f7a2e",
    "tent": "#3f63b5",
}
"""Hues after Okabe & Ito (2008), by the method's name in conf/adaptation/."""


def method_colour(adaptation: str, *, labels_of_target: bool = False) -> str:
    """Return the colour of a method; one without an entry in `COLOURS` has a hue derived from its name."""
    if labels_of_target:
        return ORACLE
    if adaptation in COLOURS:
        return COLOURS[adaptation]
    hue = hashlib.sha256(adaptation.encode()).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, 0.4, 0.6))
    return f"#{red:02x}{green:02x}{blue:02x}"
