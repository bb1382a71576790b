"""How errors are worded."""

import pytest

from mergershift.core.errors import first_line, nearest


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n one \n"), "one"),
        (ValueError(""), "ValueError"),
        (OSError("cannot reach https://anna:secret@host/x"), "cannot reach https://host/x"),
    ],
)
def test_the_first_line_says_what_went_wrong_without_passwords(error: Exception, line: str) -> None:
    assert first_line(error) == line


def test_a_long_line_is_cut() -> None:
    assert len(first_line(ValueError("x" * 5000))) == 200


def test_the_nearest_names_come_first_and_all_where_none_is_alike() -> None:
    assert nearest("trian", ["train", "predict"]) == "'train'"
    assert nearest("zzz", ["b", "a"]) == "'a', 'b'"
