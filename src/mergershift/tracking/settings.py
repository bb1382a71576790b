"""A short name for the settings and data that trainings have in common."""

from __future__ import annotations

import hashlib
import json

from mergershift.cells.records import RunSpec
from mergershift.core.nesting import flattened

_ASIDE = ("seed", "choices.", "tracking.", "trainer.", "tuning.")
"""Beginnings of the settings in which the seeds of a method differ, or that do not concern its result."""
_LETTERS = 6


def settings_name(spec: RunSpec) -> str:
    """Name all settings and data of a training except its seed; trainings of one name differ in nothing else."""
    kept = {key: value for key, value in flattened(spec.config) if not key.startswith(_ASIDE)}
    text = json.dumps([kept, spec.tags.get("data_hash")], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_LETTERS]
