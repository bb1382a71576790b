"""The ledger of test evaluations: the more of them there are, the less the best result among them means."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from mergershift.core.checkout import main_checkout

LEDGER = "test_evaluations.jsonl"


def record(cell: str, data_hash: str, split: dict[str, Any]) -> None:
    """Add a test evaluation of the training `cell` to the main checkout's ledger, from which nothing is removed."""
    path = _ledger()
    entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "cell": cell, "data_hash": data_hash}
    with FileLock(path.with_name(path.name + ".lock")), path.open("a") as file:
        file.write(json.dumps({**entry, "split": split}) + "\n")


def times(data_hash: str, split: dict[str, Any]) -> list[str]:
    """Return when the trainings on these data under this split were tested, in the order of the ledger (UTC, ISO 8601).

    A time that the ledger does not state is an empty text.
    """
    path = _ledger()
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a full disk may have truncated a line
            continue
        if isinstance(entry, dict) and entry.get("data_hash") == data_hash and entry.get("split") == split:
            found.append(str(entry.get("time", "")))
    return found


def count(data_hash: str, split: dict[str, Any]) -> int:
    """Count the test evaluations of all trainings on these data under this split."""
    return len(times(data_hash, split))


def _ledger() -> Path:
    return main_checkout() / LEDGER
