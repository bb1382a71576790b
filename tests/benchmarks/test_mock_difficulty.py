import json
import sys
from functools import partial
from pathlib import Path

import pytest
from archive.samples import COARSE
from click.testing import CliRunner

from mergershift.archive.mock import render_universe, write

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import mock_difficulty

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_runs_tiny_and_skips_what_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "render_universe", partial(render_universe, recipe=COARSE))
    monkeypatch.setattr(mock_difficulty, "TREES", 20)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = ["--mergers", "12", "--non-mergers", "24", "--seeds", "0", "--epochs", "1"]
    arguments += ["--output", str(tmp_path / "results"), "--scratch", str(scratch), "trainer.threads=1"]
    monkeypatch.chdir(ROOT)
    first = CliRunner().invoke(mock_difficulty.main, arguments)
    assert first.exit_code == 0, first.output
    assert "pristine" in first.stdout
    assert not list(scratch.iterdir())
    kept = json.loads((tmp_path / "results" / "seed0-12+24.json").read_text())
    assert 0 <= kept["figures"]["pristine"] <= 1
    assert kept["figures"]["trivial_noisy_name"].startswith("noisy ")
    summary = json.loads((tmp_path / "results" / "summary-12+24.json").read_text())
    assert summary["pristine"]["mean"] == kept["figures"]["pristine"]
    second = CliRunner().invoke(mock_difficulty.main, arguments)
    assert second.exit_code == 0, second.output
    assert "already done" in second.stdout
