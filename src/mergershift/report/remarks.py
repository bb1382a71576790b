"""Remarks on numbers that mislead on their own: one-sided classifications, intervals and tests, the two distances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mergershift.evaluation.conclusions import disagrees
from mergershift.report.compared import compared_rows
from mergershift.report.feature_shift import Shift
from mergershift.report.study_results import Contender, Direction, Setting, StudyResults
from mergershift.report.values import NONE, Value, interval, number, percent
from mergershift.report.wording import listed, upper_first

MANY_ERRORS = 0.5
"""Share of a class that is classified wrongly from which the page says so in words."""
STILL = 0.8
"""Share of a distance from which it counts as hardly smaller."""
TARGET = "target"


def errors(direction: Direction, gathered: StudyResults, among: Iterable[str] | None = None) -> list[str]:
    """Name the methods whose accuracy hides a one-sided classification: all images as one class, or most of a class.

    Methods that err in the same way with every filter set share a sentence.

    Args:
        direction: The settings.
        gathered: The study.
        among: Names of the methods that may be named; all methods if not given.
    """
    wanted = None if among is None else set(among)
    found: dict[str, dict[Setting, _OneSided]] = {}
    for setting in direction.settings:
        for contender in setting.contenders:
            if wanted is not None and contender.name not in wanted:
                continue
            if error := _one_sided(setting, contender, gathered):
                found.setdefault(contender.name, {})[setting] = error
    groups: dict[tuple[tuple[Setting, str], ...], list[dict[Setting, _OneSided]]] = {}
    for by_setting in found.values():
        pattern = tuple((setting, error.kind) for setting, error in by_setting.items())
        groups.setdefault(pattern, []).append(by_setting)
    return [_error_sentence(direction, members) for members in groups.values()]


@dataclass(frozen=True)
class _OneSided:
    """How a method's classification of the target's images in one setting is one-sided."""

    contender: Contender
    kind: Literal["none", "all", "false positives", "false negatives"]
    share: float
    """Share of the class that is classified wrongly."""
    auc: Value
    ranks: bool
    """Whether the interval of its AUC lies above 0.5."""


def _one_sided(setting: Setting, contender: Contender, gathered: StudyResults) -> _OneSided | None:
    target = pd.concat([training.target[["label", "prediction"]] for training in contender.trainings])
    merger, called = target["label"] == 1, target["prediction"] == 1
    alarms, missed = float(called[~merger].mean()), float((~called[merger]).mean())
    kind: Literal["none", "all", "false positives", "false negatives"]
    if not called.any():
        kind, share = "none", 1.0
    elif called.all():
        kind, share = "all", 1.0
    elif alarms > MANY_ERRORS:
        kind, share = "false positives", alarms
    elif missed > MANY_ERRORS:
        kind, share = "false negatives", missed
    else:
        return None
    auc = gathered.metric(setting, contender, TARGET, "auc")
    return _OneSided(
        contender,
        kind,
        share,
        *((interval(auc), bool(auc["low"] > 0.5)) if auc is not None else (Value(NONE), False)),
    )


def _error_sentence(direction: Direction, members: Sequence[Mapping[Setting, _OneSided]]) -> str:
    """Sentence on methods that err in the same way in the same settings."""
    settings = list(members[0])
    kinds = {error.kind for error in members[0].values()}
    if len(kinds) > 1:
        clauses = [_error_clause([{setting: member[setting]} for member in members]) for setting in settings]
        text = "; ".join(
            f"with {setting.words}, {clause}" for setting, clause in zip(settings, clauses, strict=True)
        )
    elif len(settings) < len(direction.settings):
        text = f"with {listed(setting.words for setting in settings)}, {_error_clause(members)}"
    else:
        text = _error_clause(members)
    return f"{upper_first(text)}."


def _error_clause(members: Sequence[Mapping[Setting, _OneSided]]) -> str:
    """Clause on one or several methods with the same kind of error in all of the given settings."""
    errors_of_first = list(members[0].values())
    first, several = errors_of_first[0], len(members) > 1
    names = listed(next(iter(member.values())).contender.name for member in members)
    target = first.contender.first.config.transfer.target
    if first.kind in ("none", "all"):
        what = "a non-merger" if first.kind == "none" else "a merger"
        text = f"{names} {'call' if several else 'calls'} every {target} image {what}"
        if not any(error.contender.is_oracle for member in members for error in member.values()):
            text += f": {'their thresholds do' if several else 'its threshold does'} not carry over"
        if not several and all(error.ranks for error in errors_of_first):
            values = spread({setting: error.auc.text for setting, error in members[0].items()})
            text += f", although it ranks mergers above non-mergers with an AUC of {values}"
        return text
    wrong, called = (
        ("non-mergers", "mergers") if first.kind == "false positives" else ("mergers", "non-mergers")
    )
    share = (
        "more than half"
        if several
        else spread({setting: percent(error.share) for setting, error in members[0].items()})
    )
    return f"{names} {'call' if several else 'calls'} {share} of the {wrong} {called}"


def interval_note(direction: Direction, gathered: StudyResults) -> str:
    """Explain why intervals exclude 0 where no difference is claimed; empty if that occurs nowhere."""
    compared = [compared_rows(setting, gathered) for setting in direction.settings]
    if not any(disagrees(row) for rows in compared for row in rows.values()):
        return ""
    return (
        "Some intervals exclude 0 although no difference is claimed: an interval is for one method alone, while Holm’s "
        "correction of the test counts everything that this page claims."
    )


def distance_note(shifts: Mapping[Setting, Sequence[Shift]]) -> str:
    """Comment on methods for which the two distances between the domains disagree; empty if there are none.

    Args:
        shifts: The shift in the features of every method, for each setting of a direction.
    """
    overlapping, separated = [], []
    for setting, measured in shifts.items():
        baseline = next((shift for shift in measured if shift.contender is setting.baseline), None)
        if baseline is None:
            continue
        mmd, proxy = float(np.mean(baseline.mmd)), float(np.mean(baseline.proxy_a))
        for shift in measured:
            if shift is baseline or shift.contender.is_oracle or not (mmd > 0 and proxy > 0):
                continue
            own_mmd, own_proxy = float(np.mean(shift.mmd)), float(np.mean(shift.proxy_a))
            where = f", {setting.words}" if len(shifts) > 1 else ""
            name = f"{shift.contender.name} ({{}} to {{}}{where})"
            if own_mmd < mmd / 2 and own_proxy > STILL * proxy:
                overlapping.append(name.format(number(mmd), number(own_mmd)))
            elif own_proxy < proxy / 2 and own_mmd > STILL * mmd:
                separated.append(name.format(number(proxy, 2), number(own_proxy, 2)))
    parts = []
    if overlapping:
        parts.append(
            f"The two distances disagree on {listed(overlapping)}: MMD² falls by more than half, but a logistic "
            "regression distinguishes source and target almost as well as with source only. The bulk of the features "
            "overlaps, yet the domains are not aligned."
        )
    if separated:
        parts.append(
            f"The two distances disagree on {listed(separated)}: the proxy A-distance falls by more than half, but "
            "MMD² hardly at all."
        )
    return " ".join(parts)


def spread(texts: Mapping[Setting, str], before: bool = False) -> str:
    """Join texts on several filter sets, which are named unless all texts are equal, after or before its text."""
    distinct = list(dict.fromkeys(texts.values()))
    if len(distinct) == 1:
        return distinct[0]
    if before:
        return "; ".join(f"with {setting.words}, {text}" for setting, text in texts.items())
    return listed(f"{text} ({setting.words})" for setting, text in texts.items())
