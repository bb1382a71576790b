"""What MLflow's pages say about models: within the room that its database has, and as it draws Markdown."""

from __future__ import annotations

import pytest
from registry.test_model_card import markdown_of

from mergershift.registry.pages import (
    LONGEST_DESCRIPTION,
    PROMOTIONS,
    model_description,
    version_description,
    with_promotion,
)

SENTENCE = "Champion since 2026-11-26: there was no champion to beat."


@pytest.fixture
def description() -> str:
    """The description of a version."""
    return version_description(markdown_of(), {"Run": "#/run", "Use": "#/use"})


def test_a_version_begins_with_its_title_a_summary_and_links(description: str) -> None:
    heading, summary, links, note = description.split("\n\n")[:4]
    assert heading == "mmd · two · pristine→noisy · s0\n==="
    assert summary.startswith("Classifies galaxies as mergers or non-mergers")
    assert links == "[Run](#/run) · [Use](#/use)"
    assert note.startswith("> **MOCK IMAGES, NOT THE ARCHIVE.**")


def test_sections_without_room_are_named_and_the_results_always_stay(description: str) -> None:
    card = markdown_of()
    names = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    shown = [line.removeprefix("## ") for line in description.splitlines() if line.startswith("## ")]
    assert {"Results on test galaxies", "How it was trained", "Lineage"} <= set(shown) < set(names)
    left_out = description.splitlines()[-1].partition("leaves out: ")[2].rstrip(".").split(", ")
    assert sorted([*shown, *left_out]) == sorted(names)


def test_cells_of_tables_are_separated_and_no_table_is_broken(description: str) -> None:
    assert "| balanced accuracy&emsp;| 0.700 [0.600, 0.800]&emsp;| 0.700 [0.600, 0.800] |" in description
    assert "|---|---|---|" in description


@pytest.mark.parametrize("begin", ["Classifies galaxies.", "", "One.\n\nTwo."])
def test_promotions_are_listed_below_the_summary_the_latest_first(begin: str, description: str) -> None:
    once = with_promotion(begin, SENTENCE)
    assert with_promotion(once, SENTENCE) == once
    twice = with_promotion(once, "Champion until 2026-12-01.")
    expected = f"{PROMOTIONS}\n\n- Champion until 2026-12-01.\n- {SENTENCE}"
    assert expected in twice
    assert all(part in twice for part in begin.split("\n\n"))
    blocks = with_promotion(description, SENTENCE).split("\n\n")
    assert blocks[2:4] == [PROMOTIONS, f"- {SENTENCE}"]
    assert blocks[:2] + blocks[4:] == description.split("\n\n")


def test_the_oldest_promotions_make_room_for_the_latest(description: str) -> None:
    for number in range(60):
        description = with_promotion(
            description, f"Remained champion for the {number:04}th time. " + "x" * 200
        )
        assert len(description) <= LONGEST_DESCRIPTION
    assert "0059th" in description
    assert "0000th" not in description
    assert "Results on test galaxies" in description


def test_a_model_says_how_it_is_used() -> None:
    champion = model_description("m", "m", "http://host:5000")
    assert 'mergershift predict "my_images/*.fits" --model models:/m@champion' in champion
    assert (
        "export MLFLOW_TRACKING_URI=http://host:5000\nmlflow models serve -m models:/m@champion" in champion
    )
    assert "`probability`, `probability_scatter`, `calibrated_probability`, `feature_distance`" in champion
    assert "[m](#/models/m)" in model_description("m", "m_candidates", "sqlite:///mlflow.db")
