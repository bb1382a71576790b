import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import prediction

from mergershift.registry import RegisteredModel


@pytest.mark.system
def test_it_measures_a_real_prediction(tmp_path: Path) -> None:
    model = prediction.write_untrained(tmp_path, "three")
    stack = prediction.write_stack(tmp_path / "stack.npy", 300, channels=3)
    assert stack.stat().st_blocks * 512 < 0.1 * stack.stat().st_size
    cost = prediction.predict(stack, model, tmp_path / "table.parquet", threads=1)
    assert cost.seconds > 0
    assert 100 < cost.megabytes < 4000
    expected = RegisteredModel.read(model).predict(np.load(stack, mmap_mode="r")[:1])[0, 0]
    table = Table.read(tmp_path / "table.parquet")
    np.testing.assert_allclose(table["probability"], np.full(300, expected), atol=1e-6)
