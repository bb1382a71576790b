"""What a check of the archive finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["error", "warning"]
Remedy = Callable[[str], str]
"""File name to what the user can do about it."""


@dataclass(frozen=True)
class Finding:
    """One check that failed: an error makes the archive unfit, a warning is for the user to judge."""

    level: Level
    file: str
    found: str
    expected: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.file}: {self.found}; expected {self.expected}\n  {self.remedy}"


@dataclass(frozen=True)
class FilterStatistics:
    """Mean and deviation of one filter in one file beside the published ones, µJy/arcsec²."""

    file: str
    filter: str
    mean: float
    published_mean: float
    std: float
    published_std: float


@dataclass
class Report:
    """All that a check of the archive has found."""

    findings: list[Finding] = field(default_factory=list)
    statistics: list[FilterStatistics] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    """Names of the files that were read."""

    @property
    def sound(self) -> bool:
        """Whether there is no error."""
        return not any(each.level == "error" for each in self.findings)

    def add(self, level: Level, file: str, *, found: str, expected: str, remedy: str) -> None:
        """Note a check that failed."""
        self.findings.append(Finding(level, file, found, expected, remedy))
