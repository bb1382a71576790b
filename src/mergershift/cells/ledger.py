"""How often the test rows have been looked at: a figure that was chosen among many looks is worth less."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergershift.core.checkout import main_checkout

LEDGER = "test_openings.jsonl"


def record(cell: str, data_hash: str, split: dict[str, Any]) -> None:
    """Note in the main checkout's ledger that a training was tested; one line an evaluation, never removed."""
    path = _ledger()
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "cell": cell, "data_hash": data_hash}
    with FileLock(path.with_name(path.name + ".lock")), path.open("a") as file:
        file.write(json.dumps({**line, "split": split}) + "\n")


def count(data_hash: str, split: dict[str, Any]) -> int:
    """Count the evaluations, of any training, on the test rows of these data under this split."""
    path = _ledger()
    if not path.is_file():
        return 0
    found = 0
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a full disk may have torn a line
            continue
        found += entry.get("data_hash") == data_hash and entry.get("split") == split
    return found


def _ledger() -> Path:
    return main_checkout() / LEDGER
