import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import planning

pytestmark = pytest.mark.system


def test_a_made_up_study_is_planned_and_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    lists: list[int] = []
    run = planning.ran

    def timed(folder: Path, *command: str) -> float:
        said.append(run(folder, *command).stdout)
        stages = run(folder, "dvc", "stage", "list", "--name-only").stdout.split()
        lists.append(sum(name.startswith(("train@", "evaluate@")) for name in stages))
        return 8.0 if command == ("dvc", "repro") else 4.0

    monkeypatch.setattr(planning, "timed", timed)
    done = CliRunner().invoke(planning.main, ["--cells", "3"])
    assert done.exit_code == 0, done.output
    assert done.output == "3 cells: dvc repro 8.0 s, --jobs 2 4.0 s, 0.50 of that\n"
    assert lists == [6, 6]
    for text in said:
        assert "Data and pipelines are up to date." in text
        assert "Running stage" not in text
