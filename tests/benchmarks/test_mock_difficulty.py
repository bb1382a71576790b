import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_runs_at_a_tiny_size_and_skips_finished_seeds(tmp_path: Path) -> None:
    sizes = ["--mergers", "12", "--non-mergers", "24", "--seeds", "0", "--epochs", "1"]
    command = [sys.executable, "benchmarks/mock_difficulty.py", *sizes, "--output", str(tmp_path / "results")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command += ["--scratch", str(scratch)]
    first = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "pristine" in first.stdout
    assert not list(scratch.iterdir())
    kept = json.loads((tmp_path / "results" / "seed0-12+24.json").read_text())
    assert 0 <= kept["figures"]["pristine"] <= 1
    assert kept["figures"]["trivial_noisy_name"].startswith("noisy ")
    summary = json.loads((tmp_path / "results" / "summary-12+24.json").read_text())
    assert summary["pristine"]["mean"] == kept["figures"]["pristine"]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "already done" in second.stdout
