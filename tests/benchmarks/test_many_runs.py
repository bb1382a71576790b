import sys
from pathlib import Path

import pytest
from tracking import earlier

from mergershift.cells.run_content import run_content
from mergershift.tracking.sync import sync

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import many_runs

pytestmark = pytest.mark.slow


def test_the_copies_are_trainings_of_their_own(project: Path) -> None:
    earlier.write_cells(project)
    original = earlier.cell(project, "mmd")
    before = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    folders = many_runs.multiply(original, project / "outputs/runs", 5)
    contents = [run_content(folder / "train", None) for folder in folders]
    assert len({content.spec.training for content in contents}) == 5
    assert [content.spec.config["seed"] for content in contents] == [0, 0, 0, 0, 1]
    scores = [content.metrics["target.unique.balanced_accuracy"][0] for content in contents]
    assert len(set(scores)) == 5
    outcome = sync([project / "outputs/runs"])
    assert (outcome.outcomes["published"], outcome.problems) == (5, [])
    assert sync([project / "outputs/runs"]).outcomes["complete"] == 5
    assert {path: path.read_bytes() for path in before} == before
