"""The results of a study, read from the pipeline's outputs: settings, their methods, and each method's trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mergershift.archive import FILTER_SETS
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.summary_files import read_best, read_table
from mergershift.config.schema import ORACLE_PREFIX
from mergershift.config.study import Method, Study, read_study
from mergershift.core.checkout import root
from mergershift.report.style import BASELINE, Style, method_style, oracle_style, spelt

AGAIN = "Run `mergershift repro`, which computes what is missing, then run this command again."

_PLACE = ("filters", "source", "target", *Method.model_fields)
"""Columns of a summary table that identify the setting and the method of a row."""


@dataclass(frozen=True, eq=False)
class Contender:
    """A method in one setting, with its trainings, one for each seed."""

    method: Method
    name: str
    style: Style
    trainings: tuple[FinishedTraining, ...]

    @property
    def is_oracle(self) -> bool:
        """Whether target labels were used to train or tune the method."""
        return self.method.is_oracle

    @property
    def is_trained_on_target(self) -> bool:
        """Whether the network itself was trained with target labels, in contrast to an oracle that was only tuned."""
        return self.method.title == self.method.transfer

    @property
    def is_baseline(self) -> bool:
        """Whether the method is source-only, with which the others are compared."""
        return self.method.is_baseline

    @property
    def first(self) -> FinishedTraining:
        """The training with the lowest seed, which provides all examples of single images."""
        return self.trainings[0]


@dataclass(frozen=True, eq=False)
class Setting:
    """One filter set in one direction of transfer."""

    filters: str
    source: str
    target: str
    contenders: tuple[Contender, ...]
    """Source-only, then the methods and then the oracles, each in descending order of their results."""
    validator: str
    """The validator that was named beforehand to compare methods."""
    scores: dict[str, float]
    """Its scores of the label-free methods, by their titles."""

    @property
    def slug(self) -> str:
        """Name of the setting in file names and anchors."""
        return f"{self.filters}-{self.source}-to-{self.target}"

    @property
    def filter_names(self) -> str:
        """Names of the filters, for instance ``F814W, F160W``."""
        return ", ".join(name.upper() for name in FILTER_SETS[self.filters].filter_names)

    @property
    def words(self) -> str:
        """The filter set in words, for instance ``two filters``."""
        return f"{self.filters} filters"

    @property
    def title(self) -> str:
        """Title of the setting, for instance ``F814W, F160W: pristine → noisy``."""
        return f"{self.filter_names}: {self.source} → {self.target}"

    @property
    def label_free(self) -> list[Contender]:
        """All methods except the oracle."""
        return [contender for contender in self.contenders if not contender.is_oracle]

    @property
    def baseline(self) -> Contender | None:
        """Source-only, if it is part of the study."""
        return next((contender for contender in self.contenders if contender.is_baseline), None)

    @property
    def ranked(self) -> list[Contender]:
        """The label-free methods in descending order of the validator's score."""
        low = float("-inf")
        return sorted(self.label_free, key=lambda contender: -self.scores.get(contender.method.title, low))

    @property
    def best(self) -> Contender | None:
        """The label-free method that the validator ranks first."""
        return next((contender for contender in self.ranked if contender.method.title in self.scores), None)

    @property
    def adapted(self) -> Contender | None:
        """The adaptation method that the validator ranks first, which represents all of them in figures."""
        return next((contender for contender in self.ranked if not contender.is_baseline), None)

    @property
    def shown(self) -> Contender:
        """The method whose examples are shown: the one ranked first, or the first of a study of oracles only."""
        return next(iter(self.ranked), self.contenders[0])

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of galaxies and renderings in the target's test rows, and of seeds."""
        target = self.contenders[0].first.target
        seeds = max(len(contender.trainings) for contender in self.contenders)
        return {"galaxies": target["galaxy"].nunique(), "images": len(target), "seeds": seeds}


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of transfer, with its filter sets, which the page shows side by side."""

    source: str
    target: str
    settings: tuple[Setting, ...]

    @property
    def title(self) -> str:
        """Title of the direction, for instance ``From pristine to noisy images``."""
        return f"From {self.source} to {self.target} images"


@dataclass(frozen=True)
class StudyResults:
    """The results of a complete study."""

    study: Study
    settings: tuple[Setting, ...]
    transfer: pd.DataFrame
    comparison: pd.DataFrame
    validators: pd.DataFrame

    def metric(
        self, setting: Setting, contender: Contender, role: str, metric: str, choice: str = "label_free"
    ) -> Mapping[str, Any] | None:
        """Return the row of transfer.csv with a metric of a method, each rendering once; None if it is missing."""
        return self._metrics.get((*_place(setting, contender), role, metric, choice))

    def compared(self, setting: Setting, contender: Contender) -> pd.Series[Any] | None:
        """Return a method's row of comparison.csv; None if it is missing."""
        return self._compared.get(_place(setting, contender))

    @cached_property
    def _metrics(self) -> dict[tuple[str, ...], dict[str, Any]]:
        """Rows by what identifies them: to search the table for each number of the page takes seconds."""
        table = self.transfer[self.transfer["rows"] == "unique"]
        names = [*_PLACE, "role", "metric", "choice"]
        keys = table[names].itertuples(index=False, name=None)
        return dict(zip(keys, table.to_dict("records"), strict=True))  # type: ignore[arg-type]

    @cached_property
    def _compared(self) -> dict[tuple[str, ...], pd.Series[Any]]:
        if self.comparison.empty:
            return {}
        keys = self.comparison[list(_PLACE)].itertuples(index=False, name=None)
        return dict(zip(keys, (row for _, row in self.comparison.iterrows()), strict=True))

    @property
    def directions(self) -> list[Direction]:
        """The settings by direction of transfer."""
        groups: dict[tuple[str, str], list[Setting]] = {}
        for setting in self.settings:
            groups.setdefault((setting.source, setting.target), []).append(setting)
        return [Direction(*names, tuple(settings)) for names, settings in groups.items()]

    @property
    def trainings(self) -> list[FinishedTraining]:
        """All trainings, setting by setting in the order of the study."""
        return [
            training
            for setting in self.settings
            for contender in setting.contenders
            for training in contender.trainings
        ]

    @property
    def styles(self) -> list[Style]:
        """The styles of all methods, without duplicates."""
        styles = [contender.style for setting in self.settings for contender in setting.contenders]
        return list({style.variable: style for style in styles}.values())


def read_study_results() -> StudyResults:
    """Read the results of the study in conf/study.yaml; raises UserError if any part of them is missing."""
    study = read_study()
    best = {(entry.filters, entry.source, entry.target): entry for entry in read_best(AGAIN)}
    transfer, comparison, validators = (
        read_table(name, AGAIN) for name in ("transfer", "comparison", "validators")
    )
    styles = _names_and_styles(study)
    rank = _ranks(transfer)
    groups: dict[tuple[str, str, str], dict[Method, list[FinishedTraining]]] = {}
    cells = study.cells()
    trainings = FinishedTraining.read_all([root() / cell.folder for cell in cells])
    for cell, training in zip(cells, trainings, strict=True):
        domains = training.config.transfer
        methods = groups.setdefault((cell.filters, str(domains.source), str(domains.target)), {})
        methods.setdefault(cell.method, []).append(training)
    settings = []
    for (filters, source, target), methods in groups.items():
        contenders = [
            Contender(
                method, *styles[method], tuple(sorted(trainings, key=lambda training: training.config.seed))
            )
            for method, trainings in methods.items()
        ]
        named = best.get((filters, source, target))
        validator, scores = (named.validator, named.scores) if named else ("", {})
        settings.append(
            Setting(filters, source, target, tuple(sorted(contenders, key=rank)), validator, scores)
        )
    return StudyResults(study, tuple(settings), transfer, comparison, validators)


def _ranks(transfer: pd.DataFrame) -> Callable[[Contender], tuple[bool, bool, float]]:
    """Sort key of the methods of a direction: source-only, methods, oracles; by mean target accuracy over filter sets.

    The order is the same for all filter sets, so that they can be compared side by side.
    """
    accuracy = transfer[
        (transfer["role"] == "target")
        & (transfer["metric"] == "balanced_accuracy")
        & (transfer["choice"] == "label_free")
        & (transfer["rows"] == "unique")
    ]
    means = accuracy.groupby(["transfer", "adaptation", "experiment"])["value"].mean()

    def rank(contender: Contender) -> tuple[bool, bool, float]:
        method = contender.method
        mean = float(means.get((method.transfer, method.adaptation, method.experiment), math.nan))
        return contender.is_oracle, not contender.is_baseline, math.inf if math.isnan(mean) else -mean

    return rank


def _names_and_styles(study: Study) -> dict[Method, tuple[str, Style]]:
    """Name and style of each method; a method has the same style in both directions."""
    adapted = (method.title for method in study.methods if not (method.is_oracle or method.is_baseline))
    titles = list(dict.fromkeys(adapted))
    trained = {method.title for method in study.methods if method.title == method.transfer}
    oracles = dict.fromkeys(method.title for method in study.methods if method.is_oracle)
    tuned = [title for title in oracles if title not in trained]
    styles = {}
    for method in study.methods:
        if method.is_oracle:
            # An oracle of either direction is the same method, as are those tuned for either.
            name = "Oracle" if method.title in trained else spelt(method.title.removeprefix(ORACLE_PREFIX))
            index = 0 if method.title in trained else 1 + tuned.index(method.title)
            styles[method] = f"{name} (target labels)", oracle_style(index)
        elif method.is_baseline:
            styles[method] = "Source only", BASELINE
        else:
            styles[method] = spelt(method.title), method_style(titles.index(method.title))
    return styles


def in_setting(table: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """Select the rows of a setting from a summary table."""
    if table.empty:
        return table
    names = {"filters": setting.filters, "source": setting.source, "target": setting.target}
    return table[np.logical_and.reduce([table[name] == value for name, value in names.items()])]


def _place(setting: Setting, contender: Contender) -> tuple[str, ...]:
    """Return the values of `_PLACE` in the rows of a method."""
    return (setting.filters, setting.source, setting.target, *contender.method.model_dump().values())
