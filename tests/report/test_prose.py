"""Names, styles and sentences, which claim nothing that the intervals do not support."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from mergershift.archive import Origin
from mergershift.cells.records import Trained
from mergershift.config import SplitConfig
from mergershift.report.prose import banner, citation
from mergershift.report.style import BASELINE, ORACLE, method_style, oracle_style, spelt
from mergershift.report.values import interval, number, p_value, percent
from mergershift.report.wording import counted, listed


def test_no_two_of_many_methods_share_colour_and_marker():
    styles = [BASELINE, *(method_style(index) for index in range(100))]
    assert len({style.variable for style in styles}) == 101
    assert len({(style.light, style.marker) for style in styles}) == 101
    assert len({style.light for style in styles[:17]}) == 17
    assert len({oracle_style(index).marker for index in range(4)}) == 4


@pytest.mark.parametrize("dark", [False, True])
def test_hues_contrast_with_the_page(dark):
    """WCAG 2.2, 1.4.11: graphical objects need a contrast of 3 to 1."""
    page = "#151a20" if dark else "#fffffe"
    for style in (BASELINE, ORACLE, *(method_style(index) for index in range(16))):
        darker, lighter = sorted(luminance(colour) for colour in (style.dark if dark else style.light, page))
        assert (lighter + 0.05) / (darker + 0.05) >= 3, style


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels
    ]
    return sum(weight * channel for weight, channel in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_names_are_spelt_as_in_the_literature():
    assert spelt("mmd_fisher_entropy") == "MMD Fisher entropy"
    assert spelt("source_only") == "Source only"
    assert spelt("something_new") == "Something new"


def test_numbers_are_formatted_for_print():
    assert number(-0.0531) == "−0.053"
    assert number(0.0531, signed=True) == "+0.053"
    assert number(-0.0001) == "0.000"
    assert number(float("nan")) == "–"
    assert percent(0.614) == "61 %"
    assert p_value(0.0004) == "< 0.001"
    row = pd.Series({"value": 0.5, "low": float("nan"), "high": float("nan")})
    assert interval(row) == ("0.500", "")
    assert (counted(1, "galaxy"), counted(2, "galaxy"), counted(2, "seed")) == (
        "1 galaxy",
        "2 galaxies",
        "2 seeds",
    )
    assert (listed("a"), listed("ab"), listed("abc")) == ("a", "a and b", "a, b and c")


ORIGIN = Origin(kind="archive", address="https://archive.example")


@pytest.mark.parametrize(
    ("origin", "reading", "warning"),
    [
        (
            ORIGIN,
            {"channels.noisy": "f814w,f160w (the published noise)", "galaxies": "published order"},
            None,
        ),
        (ORIGIN.model_copy(update={"stated_by": "user"}), {}, "is what a user stated"),
        (ORIGIN, {"galaxies": "renderings"}, "the split is by rendering"),
        (
            ORIGIN,
            {"channels.noisy": "f814w,f160w,f356w (assumed: the pixels do not decide)"},
            "not certain: f814w,f160w",
        ),
    ],
)
def test_doubts_about_the_files_are_warnings_of_the_page(
    origin: Origin, reading: dict[str, str], warning: str | None
) -> None:
    split = SplitConfig(kind="by_galaxy", seed=1, train=0.7, validation=0.1, disjoint_domains=False)
    trained = Trained.model_construct(provenance=origin, reading=reading, split=split)
    results: Any = SimpleNamespace(trainings=[SimpleNamespace(trained=trained)], settings=[])
    found = banner(results)
    assert found["real"] == (warning is None)
    assert len(found["warnings"]) == (warning is not None)
    assert (warning or "") in "".join(found["warnings"])


@pytest.mark.parametrize("warned", [False, True])
def test_what_to_state_with_a_result_follows_from_the_images(warned):
    text = citation(["archive"], warned)
    assert "not based on" not in text
    assert ("repeat the warnings" in text) == warned
    assert "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)" in text
    assert "doi:10.17909/t9-vqk6-pc80 and 2021MNRAS.506..677C" in text
    text = citation(["mock"], warned)
    assert "state that it is not based on the images of the archive" in text
    assert ("repeat the warnings" in text) == warned
    assert "licence (CC BY 4.0) and references do not cover them" in text
    for kinds in (["unknown"], ["archive", "mock"]):
        text = citation(kinds, warned)
        assert text.startswith(f"Do not cite a result from this page: its images are of {kinds[0]}")
        assert "the images of the archive" not in text


def test_results_are_of_test_galaxies_and_feature_planes_of_validation_galaxies(study):
    text = " ".join((study / "outputs/report/index.html").read_text().split())
    assert re.search(r"Tested on \d+ galaxies \(\d+ of them mergers\), \d+ renderings", text)
    assert re.search(r"standardised features of \d+ renderings of \d+ validation galaxies", text)
