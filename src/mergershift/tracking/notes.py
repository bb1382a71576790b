"""Descriptions in MLflow's pages, which its users may edit: an edited one is never replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

NOTE = "mlflow.note.content"
"""MLflow's tag with the description of a run or an experiment."""
WRITTEN = "mlflow.mergershift.note"
"""Tag with a digest of the description that was written last, so that an edited one is recognised."""


def note_tags(text: str, present: Mapping[str, str]) -> dict[str, str]:
    """Return the tags to set so that the description is `text`; none if it is already, or if a user wrote another.

    Args:
        text: the description.
        present: all tags of the run or experiment.
    """
    before, written = present.get(NOTE), present.get(WRITTEN)
    if before == text or (written is None and before) or (written is not None and written != _digest(before)):
        return {}
    return {NOTE: text, WRITTEN: _digest(text)}


def _digest(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()[:16]
