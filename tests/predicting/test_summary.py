"""Rows are counted by flag and refusals by reason."""

from __future__ import annotations

from pathlib import Path

from predicting.table_samples import FORM, predicted

from mergershift.predicting.flags import MEANINGS, Flag
from mergershift.predicting.planes import Identity
from mergershift.predicting.rows import Predicted, Row
from mergershift.predicting.summary import MOST_REASONS, Summary


def summary(*parts: Predicted) -> Summary:
    made = Summary(FORM)
    for part in parts:
        made.add(part)
    return made


def test_flags_are_counted_over_all_parts_and_the_model_is_called_mock() -> None:
    part = predicted(20, refused=False)
    lines = summary(part, predicted(20, start=20)).lines(Path("p.ecsv"))
    assert lines[0].startswith("p.ecsv: 40 images, ")
    assert "MOCK" in lines[1]
    assert "no statistics of its training images" in lines[2]
    assert lines[3] == (
        "40 images: 3 refused, 10 incomplete in f814w, 10 unresolved in f160w, 9 with filters assumed"
    )


def test_a_flag_that_a_row_has_twice_counts_once() -> None:
    part = predicted(1, refused=False)
    part.rows[0].flags = [Flag("no data", "f814w")] * 2
    assert summary(part).counts() == ["1 with no data in f814w"]


def test_every_flag_has_a_wording() -> None:
    part = predicted(1, refused=False)
    part.rows[0].flags = [Flag(word) for word in MEANINGS if word != "refused"]
    counts = summary(part).counts()
    assert len(counts) == len(MEANINGS) - 1
    assert not any("with sky differs" in text or "with noise differs" in text for text in counts)


def test_many_reasons_are_summed_up() -> None:
    part = predicted(MOST_REASONS + 5, refused=False)
    part.rows[:] = [
        Row(Identity(f"{number}.fits", ""), 0, refused=f"is {number} kpc wide") for number in range(25)
    ]
    lines = list(summary(part).refusals())
    assert len(lines) == MOST_REASONS + 1
    assert lines[0] == "Refused: 0.fits: is 0 kpc wide."
    assert lines[-1] == "Refused: 5 more for other reasons, which the column flag gives."


def test_refused_objects_of_a_catalogue_are_called_by_their_id() -> None:
    made = Summary(FORM, catalogue=True)
    part = predicted(1, refused=False)
    part.rows[0] = Row(Identity("cosmos.fits", "17"), 0, refused="outside the mosaic")
    made.add(part)
    assert list(made.refusals()) == ["Refused: object 17: outside the mosaic."]
    assert made.lines(Path("p.ecsv"))[0].startswith("p.ecsv: 1 object, ")
