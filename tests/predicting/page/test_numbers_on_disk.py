"""Columns in a file are those that were added."""

import numpy as np
import pytest

from mergershift.predicting.page import numbers_on_disk
from mergershift.predicting.page.numbers_on_disk import NumbersOnDisk


def test_columns_come_back_in_order_whatever_is_read_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers_on_disk, "CHUNK", 3)
    random = np.random.default_rng(0)
    numbers = NumbersOnDisk()
    assert "p" not in numbers
    added = []
    for count in (4, 0, 7):
        added.append({"p": random.normal(size=count), "size": random.normal(size=(count, 2))})
        numbers.add(added[-1])
        for name in ("size", "p"):
            expected = np.concatenate([part[name] for part in added]).astype(np.float32)
            np.testing.assert_array_equal(numbers.column(name), expected)
