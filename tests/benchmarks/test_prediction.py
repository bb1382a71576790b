import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import prediction

from mergershift.registry import ModelFacts, RegisteredModel


@pytest.mark.system
def test_it_measures_a_real_prediction(tmp_path: Path) -> None:
    model = prediction.write_untrained(tmp_path, "two")
    stack = prediction.write_stack(tmp_path / "stack.npy", 300, channels=2)
    images = np.load(stack)[:2]
    output = tmp_path / "table.parquet"
    cost = prediction.measured([str(stack), "--model", str(model)], output, threads=1)
    assert cost.seconds > 0
    assert 100 < cost.megabytes < 4000
    expected = RegisteredModel.read(model).predict(images)[:, 0]
    np.testing.assert_allclose(Table.read(output)["probability"][:2], expected, atol=1e-6)
    folder = prediction.write_files(tmp_path / "files", ModelFacts.read(model), 3, packed=True)
    headers, pixels = prediction.numbers_of(prediction.READ, str(model), str(folder))
    assert min(headers, pixels) > 0


def test_the_cube_is_as_large_as_the_field(tmp_path: Path) -> None:
    facts = ModelFacts.read(prediction.write_untrained(tmp_path, "two"))
    path = prediction.write_cube(tmp_path / "cube.fits", facts, 250, fields=1.0)
    with fits.open(path) as hdus:
        assert hdus[0].data.shape == (2, 250, 250)
        assert np.isfinite(hdus[0].data).all()


def test_a_sparse_stack_takes_no_space(tmp_path: Path) -> None:
    stack = prediction.write_sparse(tmp_path / "stack.npy", 300, channels=2)
    assert stack.stat().st_blocks * 512 < 0.1 * stack.stat().st_size
