import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmark_runs_tiny(tmp_path: Path) -> None:
    sizes = ["--mergers", "12", "--non-mergers", "24", "--methods", "1", "--epochs", "1"]
    command = [sys.executable, "benchmarks/jobs.py", *sizes, "--scratch", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mergershift repro --jobs 2: " in done.stdout
    assert "1 cells" in done.stdout
    assert "metrics.json byte-identical" in done.stdout
    assert not list(tmp_path.iterdir())
