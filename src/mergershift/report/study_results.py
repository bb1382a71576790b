"""All that the page shows, read from what the pipeline left: settings, their methods, and each method's trainings."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mergershift.archive import FILTER_SETS
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import BEST, SUMMARY
from mergershift.config.study import Method, Study, read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.report.style import BASELINE, ORACLE, Style, method_look, spelt

AGAIN = "Run `mergershift repro`, which makes what is missing, and give this command again."


@dataclass(frozen=True, eq=False)
class Contender:
    """A method in one setting, with its trainings, one a seed."""

    method: Method
    name: str
    look: Style
    trainings: tuple[FinishedTraining, ...]

    @property
    def is_oracle(self) -> bool:
        """Whether it was trained on target labels."""
        return self.method.is_oracle

    @property
    def is_baseline(self) -> bool:
        """Whether it is source-only, with which the others are compared."""
        return self.method.is_baseline

    @property
    def first(self) -> FinishedTraining:
        """The training with the lowest seed, from which single images are shown."""
        return self.trainings[0]


@dataclass(frozen=True, eq=False)
class Setting:
    """One filter set in one direction."""

    filters: str
    source: str
    target: str
    contenders: tuple[Contender, ...]
    validator: str
    """The validator that was named beforehand to compare methods by."""
    scores: dict[str, float]
    """What it makes of the label-free methods, by their title."""

    @property
    def slug(self) -> str:
        """Name for files and anchors."""
        return f"{self.filters}-{self.source}-to-{self.target}"

    @property
    def filter_names(self) -> str:
        """For instance ``F814W, F160W``."""
        return ", ".join(name.upper() for name in FILTER_SETS[self.filters].filter_names)

    @property
    def title(self) -> str:
        """For instance ``F814W, F160W: pristine → noisy``."""
        return f"{self.filter_names}: {self.source} → {self.target}"

    @property
    def label_free(self) -> list[Contender]:
        """Everything but the oracle."""
        return [each for each in self.contenders if not each.is_oracle]

    @property
    def baseline(self) -> Contender | None:
        """Source-only, if the study has it."""
        return next((each for each in self.contenders if each.is_baseline), None)

    @property
    def ranked(self) -> list[Contender]:
        """The label-free methods, the validator's first before the others."""
        low = float("-inf")
        return sorted(self.label_free, key=lambda each: -self.scores.get(each.method.title, low))

    @property
    def best(self) -> Contender | None:
        """The label-free method that the validator puts first."""
        return next((each for each in self.ranked if each.method.title in self.scores), None)

    @property
    def adapted(self) -> Contender | None:
        """The validator's first among the methods that are not source-only: it stands for the adapted ones."""
        return next((each for each in self.ranked if not each.is_baseline), None)

    @property
    def shown(self) -> Contender:
        """The method whose single images are shown: the best one where there is one."""
        return next(iter(self.ranked), self.contenders[0])

    @property
    def sizes(self) -> dict[str, int]:
        """Galaxies and renderings of the target's test, and seeds."""
        target = self.contenders[0].first.target
        seeds = max(len(each.trainings) for each in self.contenders)
        return {"galaxies": target["galaxy"].nunique(), "images": len(target), "seeds": seeds}


@dataclass(frozen=True)
class StudyResults:
    """A whole study."""

    study: Study
    settings: tuple[Setting, ...]
    transfer: pd.DataFrame
    comparison: pd.DataFrame
    validators: pd.DataFrame

    @property
    def trainings(self) -> list[FinishedTraining]:
        """All cells, in the study's order within each setting."""
        return [run for setting in self.settings for each in setting.contenders for run in each.trainings]

    @property
    def looks(self) -> list[Style]:
        """The looks of all methods, each once."""
        return list({each.look.variable: each.look for s in self.settings for each in s.contenders}.values())


def read_study_results() -> StudyResults:
    """Read the study that conf/study.yaml names; raises UserError where something of it is missing."""
    study = read_study()
    best = {
        (each["filters"], each["source"], each["target"]): each for each in _json(root() / SUMMARY / BEST)
    }
    looks = _looks(study)
    groups: dict[tuple[str, str, str], dict[Method, list[FinishedTraining]]] = {}
    for cell in study.cells():
        run = FinishedTraining.read(root() / cell.folder)
        way = run.config.transfer
        methods = groups.setdefault((cell.filters, str(way.source), str(way.target)), {})
        methods.setdefault(cell.method, []).append(run)
    settings = []
    for (filters, source, target), methods in groups.items():
        contenders = tuple(
            Contender(method, *looks[method], tuple(sorted(runs, key=lambda run: run.config.seed)))
            for method, runs in methods.items()
        )
        named = best.get((filters, source, target), {"validator": "", "scores": {}})
        scores = {name: score for name, score in named["scores"].items() if math.isfinite(score)}
        settings.append(Setting(filters, source, target, contenders, named["validator"], scores))
    tables = [_csv(root() / SUMMARY / f"{name}.csv") for name in ("transfer", "comparison", "validators")]
    return StudyResults(study, tuple(settings), *tables)


def _looks(study: Study) -> dict[Method, tuple[str, Style]]:
    """Name and look of each method; the same one keeps its look in both directions."""
    adapted = (method.title for method in study.methods if not (method.is_oracle or method.is_baseline))
    titles = list(dict.fromkeys(adapted))
    looks = {}
    for method in study.methods:
        if method.is_oracle:
            trained = method.title == method.transfer
            name = "Oracle (target labels)" if trained else f"{spelt(method.title)} (target labels)"
            looks[method] = name, ORACLE
        elif method.is_baseline:
            looks[method] = "Source only", BASELINE
        else:
            looks[method] = spelt(method.title), method_look(titles.index(method.title))
    return looks


def _there(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: missing.\n{AGAIN}")
    return path


def _json(path: Path) -> Any:
    try:
        record = json.loads(_there(path).read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}).\n{AGAIN}") from error
    return record


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(_there(path))
    except pd.errors.EmptyDataError:  # a table without rows has no columns either
        return pd.DataFrame()
    except ValueError as error:
        raise UserError(f"{path}: not a CSV table ({error}).\n{AGAIN}") from error
