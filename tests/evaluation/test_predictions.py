from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from evaluation.samples import STRUCTURE, part, predictions

from mergershift.core.errors import UserError
from mergershift.evaluation import join, read_predictions, unique_renderings, write_predictions


def test_join_adds_the_predicted_class() -> None:
    table = predictions()
    assert (table["prediction"] == (table["probability"] >= 0.5)).all()
    assert set(table["role"]) == {"source", "target"}
    assert table["prediction"].dtype == "int64"


def test_reading_a_written_file_is_exact_to_the_last_bit(tmp_path: Path) -> None:
    table, path = predictions(), tmp_path / "predictions.csv"
    write_predictions(table, path)
    pd.testing.assert_frame_equal(read_predictions(path), table, check_exact=True)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, path = predictions(), tmp_path / "predictions.csv"
    write_predictions(table, path)
    before = path.read_bytes()

    def torn(_table: pd.DataFrame, target: Path, **_: object) -> None:
        Path(target).write_text("row,gal")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", torn)
    with pytest.raises(OSError, match="disk full"):
        write_predictions(table, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("probability", float("nan"), "probability is not a number from 0 to 1 in 1 of"),
        ("probability", 1.01, "probability is not a number from 0 to 1 in 1 of"),
        ("label", 2, "label is neither 0 nor 1"),
        ("role", "sauce", "role is neither source nor target"),
        ("row", 0, "duplicate image in 1 of"),
    ],
)
def test_invalid_values_are_reported_with_their_index(column: str, value: Any, message: str) -> None:
    table = part("source", "pristine")
    table.loc[3, column] = value
    with pytest.raises(UserError, match=f"{message}.*\n"):
        join([table])


def test_a_missing_column_and_an_empty_table_are_reported() -> None:
    with pytest.raises(UserError, match="no column galaxy, label"):
        join([part("source", "pristine").drop(columns=["galaxy", "label"])])
    with pytest.raises(UserError, match="no predictions"):
        join([part("source", "pristine").iloc[:0]])


def test_a_column_seed_in_some_tables_only_is_refused() -> None:
    with pytest.raises(UserError, match="others have none"):
        join([part("source", "pristine").assign(seed=1), part("target", "noisy")])


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with pytest.raises(UserError, match=r"predictions\.csv: no such file"):
        read_predictions(path)
    path.write_text("")
    with pytest.raises(UserError, match=r"predictions\.csv: empty"):
        read_predictions(path)
    write_predictions(predictions(), path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"predictions\.csv: "):
        read_predictions(path)


def test_keeps_the_original_renderings_of_mergers_and_all_non_mergers() -> None:
    table = predictions()
    kept = unique_renderings(table)
    per_role = (STRUCTURE.mergers + STRUCTURE.non_mergers) * STRUCTURE.CAMERAS
    assert len(kept) == 2 * per_role
    assert (kept["block"] == 0).all()
    assert not kept.duplicated(["role", "galaxy", "camera"]).any()


def test_keeps_the_first_copy_by_row_number_if_the_original_is_missing() -> None:
    table = predictions()
    table = table[(table["role"] == "source") & ~((table["galaxy"] == 2) & (table["block"] < 3))]
    shuffled = table.sample(frac=1, random_state=0)
    kept = unique_renderings(shuffled)
    assert (kept.loc[kept["galaxy"] == 2, "block"] == 3).all()
    assert np.count_nonzero(kept["galaxy"] == 2) == STRUCTURE.CAMERAS
    assert set(kept["row"]) == set(unique_renderings(table)["row"])


def test_keeps_every_seed() -> None:
    table = predictions()
    both = pd.concat([table.assign(seed=0), table.assign(seed=1)], ignore_index=True)
    assert len(unique_renderings(both)) == 2 * len(unique_renderings(table))


def test_duplicate_index_labels_do_not_matter() -> None:
    table = predictions()
    doubled = pd.concat([table.assign(seed=0), table.assign(seed=1)])
    kept = unique_renderings(doubled)
    assert len(kept) == 2 * len(unique_renderings(table))
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), unique_renderings(doubled.reset_index(drop=True)).reset_index(drop=True)
    )
