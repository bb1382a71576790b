"""A search for the limit of a network that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cells.samples import DATA_HASH, config_of

from mergershift.config.tuning_schema import TuningConfig
from mergershift.tuning.storage import Search

LIMIT = "network.limit"
IN_MEMORY = "sqlite:///:memory:"
"""A database of the thread that opens it."""


def search_of(
    *,
    data_hash: str = DATA_HASH,
    code_hash: str = "code",
    best_by: str = "target_entropy",
    tags: Mapping[str, str | None] | None = None,
    **changed: Any,
) -> Search:
    """A search by the accuracy on labelled validation images."""
    tuning: dict[str, Any] = {
        "objectives": ["source_balanced_accuracy"],
        "trials": 3,
        "pruning": False,
        "seed": 0,
        "storage": IN_MEMORY,
        "name": "study",
        "heartbeat": 1,
        "retries": 2,
        "patience": 30,
        "space": {"network": {"limit": {"low": 1.0, "high": 200.0}}},
    }
    settings = TuningConfig.model_validate(tuning | changed)
    return Search(config_of(), settings, data_hash, code_hash, best_by, tags or {})
