"""The findings of a verification of the archive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning"]
Remedy = Callable[[str], str]
"""Gives what the user can do about a bad file, from the file's name."""


@dataclass(frozen=True)
class Finding:
    """One failed check: an error makes the archive unfit for use, a warning is left to the user's judgement."""

    level: Level
    file: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.found}; expected {self.expected}.\n  {self.remedy}"


@dataclass(frozen=True)
class FilterStatistics:
    """Mean and standard deviation of one filter in one file, with the published ones, in µJy/arcsec²."""

    file: str
    filter: str
    mean: float
    published_mean: float
    std: float
    published_std: float


@dataclass
class Report:
    """Everything that a verification of the archive has found."""

    findings: list[Finding] = field(default_factory=list)
    statistics: list[FilterStatistics] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was found out about the files and is no failed check."""
    checked: list[str] = field(default_factory=list)
    """Names of the files that were checked."""

    @property
    def sound(self) -> bool:
        """Whether the verification found no errors; warnings are allowed."""
        return not any(finding.level == "error" for finding in self.findings)

    def add(self, level: Level, file: str, *, found: str, expected: str, remedy: str) -> None:
        """Add a failed check."""
        self.findings.append(Finding(level, file, found, expected, remedy))
