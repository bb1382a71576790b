import json
import sys
from pathlib import Path

from archive.samples import LARGER, write_sample
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import tuning_workers


def test_it_compares_one_worker_with_several(tmp_path: Path, monkeypatch) -> None:
    def pretend(folder: Path, workers: int, trials: int, method: str, filters: str) -> float:
        outcome = folder / "outputs/tuning/tuned_coral"
        outcome.mkdir(parents=True)
        (outcome / "study.json").write_text(json.dumps({"completed": trials}))
        return 90.0 / workers

    monkeypatch.setattr(tuning_workers, "tune", pretend)
    monkeypatch.setattr(tuning_workers, "ran", lambda *_: None)
    monkeypatch.setattr(
        tuning_workers, "write_archive", lambda data, **_: write_sample(data, LARGER, ("two",))
    )
    arguments = ["--workers", "3", "--trials", "5", "--method", "coral", "--scratch", str(tmp_path)]
    done = CliRunner().invoke(tuning_workers.main, arguments)
    assert done.exit_code == 0, done.output
    assert "1 worker: 5 trials in 90.0 s\n3 workers: 5 trials in 30.0 s\n0.33 of the time" in done.output
    assert not list(tmp_path.iterdir())
