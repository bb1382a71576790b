"""The page on a set of predictions says what was done, shows it and admits what it cannot know."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from predicting.table_samples import FORM, predicted
from registry.samples import facts_of, stamps

from mergershift.predicting.flags import Flag
from mergershift.predicting.page.gathered import Gathered
from mergershift.predicting.page.page import write_page
from mergershift.predicting.planes import Identity
from mergershift.predicting.rows import Predicted
from mergershift.predicting.table import Form
from mergershift.registry import ModelFacts


def gathered(*parts: Predicted, facts: ModelFacts | None = None) -> Gathered:
    made = Gathered(FORM if facts is None else Form(facts, "m", "", FORM_SCORES), facts or facts_of())
    for part in parts:
        made.add(part, stamps(len(part.rows)))
    return made


FORM_SCORES = {name: FORM.formats[name].description for name in FORM.scores}


def page(tmp_path: Path, made: Gathered) -> str:
    write_page(tmp_path / "t.html", tmp_path / "t.ecsv", made)
    return (tmp_path / "t.html").read_text()


def words(text: str) -> str:
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r"<(style|svg).*?</\1>", "", text, flags=re.DOTALL))
    )


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    part = predicted(56)
    part.rows[1].identity = Identity("<script>.fits", "<script>alert(1)</script>")
    part.scores[1] = 1.0
    part.rows[5].flags.append(Flag("no data", "f160w"))
    part.scores[5] = np.nan
    return page(tmp_path_factory.mktemp("page"), gathered(part, predicted(14, start=56)))


def test_it_says_what_was_done_to_how_many(text: str) -> None:
    said = words(text)
    assert "Which of 70 images show mergers?" in said
    assert "of 59 images with a prediction are classified as mergers" in said
    assert "11 images have none (10 refused and 1 without enough data in a filter)" in said
    assert "filters assumed 16 23 % the file does not name its filters" in said
    assert "no data in f160w 1 1.4 % no pixel of the field" in said
    assert "counts are no unit of &lt;brightness&gt; &amp; more" in said
    assert "converted from nJy" in said


def test_it_warns_of_mock_images_at_the_top_and_on_every_figure(text: str) -> None:
    assert "A MODEL TRAINED ON MOCK IMAGES" in text
    assert text.count("<svg") == text.count("MODEL OF MOCK IMAGES") > 8


def test_it_is_self_contained_and_escapes_names(text: str) -> None:
    assert "<script>" not in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', text)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    for anchor in re.findall(r'href="#([^"]*)"', text):
        assert anchor in ids


def test_it_admits_what_it_cannot_know(text: str) -> None:
    said = words(text)
    assert "The images have no labels, so no accuracy" in said
    assert "The merger fraction" in said


def test_the_same_set_gives_the_same_page(tmp_path: Path) -> None:
    first, second = (page(tmp_path, gathered(predicted(20))) for _ in range(2))
    assert first == second


def test_a_set_without_predictions_and_measures_has_a_page(tmp_path: Path) -> None:
    part = predicted(2, refused=False)
    part.scores[:] = np.nan
    part.measures = {}
    said = words(page(tmp_path, gathered(part)))
    assert "0 of 0 images with a prediction are classified as mergers; 2 images have none" in said


def test_a_model_of_the_archive_is_not_called_mock(tmp_path: Path) -> None:
    text = page(tmp_path, gathered(predicted(9), facts=facts_of(data_kind="archive")))
    assert "MOCK" not in text
    assert "banner real" in text
