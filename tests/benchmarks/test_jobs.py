import sys
from pathlib import Path

import pytest
from archive.samples import LARGER, write_sample
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import jobs

pytestmark = pytest.mark.system


def test_a_clone_can_run_the_pipeline(tmp_path: Path, sample: Path) -> None:
    folder = jobs.clone(tmp_path / "clone", sample, "two", methods=1, epochs=1, seeds=2)
    assert (folder / "src/mergershift/pipeline/worktrees.py").read_bytes() == (
        jobs.ROOT / "src/mergershift/pipeline/worktrees.py"
    ).read_bytes()
    stages = jobs.ran(folder, "dvc", "stage", "list", "--name-only").stdout.split()
    cells = [name for name in stages if name.startswith(("train@", "evaluate@"))]
    assert len(cells) == 4, "one method, two seeds"
    assert jobs.timed(folder, "dvc", "repro", "prepare") > 0
    assert (folder / "outputs/prepared").is_dir()


@pytest.mark.parametrize("same", [True, False])
def test_it_reports_whether_both_computed_the_same(
    tmp_path: Path, monkeypatch, sample: Path, same: bool
) -> None:
    def pretend(folder: Path, *command: str) -> float:
        for name in jobs.SAME:
            path = folder / "outputs/cells/two/seed0" / name
            path.parent.mkdir(parents=True)
            path.write_text("scores" if same else str(command))
        return 8.0 if command == ("dvc", "repro") else 4.0

    monkeypatch.setattr(jobs, "timed", pretend)
    monkeypatch.setattr(jobs, "write_archive", lambda data, **_: write_sample(data, LARGER, ("two",)))
    done = CliRunner().invoke(jobs.main, ["--jobs", "3", "--scratch", str(tmp_path)])
    assert done.exit_code == (not same), done.output
    assert "dvc repro: 8.0 s\nmergershift repro --jobs 3: 4.0 s, 0.50 of that time\n1 cells" in done.output
    assert ("not byte-identical" in done.output) != same
    assert not list(tmp_path.iterdir())
