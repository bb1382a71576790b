"""A version of a registered model, as MLflow's registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

FINGERPRINT, FORMER_FINGERPRINT = "fingerprint", "mergershift.fingerprint"
"""Tag with the first `DIGITS` of the hash by which two models are recognised as the same
(`registry.ModelFacts.fingerprint`), and the tag in which earlier versions of mergershift kept the whole hash."""
FILES = "files"
"""Tag with the hash of the model's files, by which files are recognised that were changed on the server."""
FILES_DIGITS = 32
"""Number of its hexadecimal digits: enough that nobody can make other files with the same ones."""
DIGITS = 12
"""Number of letters to which MLflow's pages shorten a hash."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int
    tags: Mapping[str, str]
    run_id: str | None
    created: int
    """Milliseconds since 1970; a deleted version's number may be assigned again, with another time."""
    description: str = ""

    @property
    def fingerprint(self) -> str:
        """First `DIGITS` of the model's fingerprint; empty if mergershift did not register the version."""
        return (self.tags.get(FINGERPRINT) or self.tags.get(FORMER_FINGERPRINT) or "")[:DIGITS]

    @property
    def title(self) -> str:
        """Name and number as MLflow's pages give them, for instance mergershift version 3."""
        return f"{self.name} version {self.number}"

    @property
    def uri(self) -> str:
        """URI of the version, for instance models:/mergershift/3."""
        return f"models:/{self.name}/{self.number}"

    @classmethod
    def of(cls, found: ModelVersion) -> Version:
        """Convert what MLflow's client returns."""
        return cls(
            found.name,
            int(found.version),
            dict(found.tags),
            found.run_id or None,
            found.creation_timestamp,
            found.description or "",
        )
