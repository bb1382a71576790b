"""The table of all trainings: the accuracy of each method in each setting, with a link to the setting's own page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mergershift.cells.finished import FinishedTraining
from mergershift.core.words import counted
from mergershift.report.study_results import Contender, Setting, StudyResults
from mergershift.report.values import NONE, number

MOST_LISTED = 24
"""Number of trainings up to which the main page lists every one of them as well."""


@dataclass(frozen=True)
class Entry:
    """A method's trainings in a setting."""

    text: str
    """Mean balanced accuracy of its seeds on the target's test."""
    bounds: str
    """Range over several seeds, and their number."""
    address: str
    """Where the setting's page shows the method; empty if the setting does not have it."""


@dataclass(frozen=True)
class EntryRow:
    """A method's entries in all settings."""

    contender: Contender
    entries: Sequence[Entry]


def page_of(setting: Setting) -> str:
    """Name of the file with a setting's own page, beside the main page."""
    return f"{setting.slug}.html"


def anchor(contender: Contender) -> str:
    """Name of a method in file names and anchors."""
    return contender.method.title.replace("_", "-")


def target_score(training: FinishedTraining, metric: str = "balanced_accuracy") -> float:
    """A metric of a training on the target's test images."""
    return training.results["target"]["unique"][metric]["value"]


def entry_rows(gathered: StudyResults) -> list[EntryRow]:
    """A row for each method, in the order of the settings."""
    methods: dict[str, dict[Setting, Contender]] = {}
    for setting in gathered.settings:
        for contender in setting.contenders:
            methods.setdefault(contender.name, {})[setting] = contender
    return [
        EntryRow(
            next(iter(found.values())),
            [_entry(setting, found.get(setting)) for setting in gathered.settings],
        )
        for found in methods.values()
    ]


def _entry(setting: Setting, contender: Contender | None) -> Entry:
    if contender is None:
        return Entry(NONE, "", "")
    scores = [target_score(training) for training in contender.trainings]
    bounds = ""
    if len(scores) > 1:
        bounds = f"{number(min(scores))} to {number(max(scores))}, {counted(len(scores), 'seed')}"
    return Entry(number(sum(scores) / len(scores)), bounds, f"{page_of(setting)}#{anchor(contender)}")
