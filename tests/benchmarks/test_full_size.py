"""A training at full size, tried with few images on the processor."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import full_size


def test_the_reference_takes_its_batches_from_a_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_size, "VALIDATION", 4)
    taken: list[int] = []
    collate = full_size.collate

    def noted(rows: Any) -> Any:
        taken.append(len(rows))
        return collate(rows)

    monkeypatch.setattr(full_size, "collate", noted)
    arguments = ["--trainer", "cpu_one_thread", "--images", "130", "--epochs", "2", "--workers", "0"]
    done = CliRunner().invoke(full_size.main, arguments)
    assert done.exit_code == 0, done.output
    assert taken == [128, 128]
    assert "130 + 130 images, 2 epochs measured, 200 computed" in done.output
    assert re.search(r"DataLoader with 0 workers: \d+ ms an epoch, \d+ s in all, [\d.]+ times", done.output)
