"""The seconds of a cell are split into those of its epochs and all others."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from cells_in_one_process import Cost


def test_two_lengths_separate_the_epochs_from_the_rest() -> None:
    cost = Cost.of(short=12.0, long=16.0)
    assert (cost.fixed, cost.epoch) == pytest.approx((10.0, 2.0))
    assert cost.seconds(18) == pytest.approx(46.0)
    assert cost.seconds(18, faster=3.0) == pytest.approx(22.0)
