"""The step that lets a candidate challenge the champion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mergershift import evaluation, packaging, tracking
from mergershift.config import compose
from mergershift.errors import UserError
from mergershift.evaluation import Challenge
from mergershift.packaging.assembling import TEST, VALIDATION
from mergershift.registering import CANDIDATES
from mergershift.tracking.mutex import Held, mutex
from mergershift.tracking.registry import FINGERPRINT, Registry, Version

LOCK = "_promotion_lock"
_SAME = ("data_hash", "split", "filter_set", "source", "target")
"""What two models have to agree in before a comparison says which is better."""


@dataclass(frozen=True)
class _Verdict:
    """What came of a comparison: whether the candidate wins, why, and what is recorded."""

    wins: bool
    words: str
    tags: dict[str, str]


def promote_step(
    overrides: tuple[str, ...], number: int | None, force: str | None = None, oracle_gate: bool = False
) -> str:
    """Make a candidate the champion if it beats the present one; returns up to three lines to print.

    The two are compared by the validator selection.best_by on the target's validation images, without its labels, and
    the lower end of the interval of the difference (`evaluation.challenge`) has to lie above 0. Without a champion
    there is nothing to beat. Whatever comes of it is recorded in tags of the version. Of two promotions at once
    the second one waits and then challenges the new champion.

    Args:
        overrides: of conf/, for instance selection.best_by=target_entropy.
        number: version of the candidate; the newest one if None.
        force: the reason for a promotion whatever the comparison says; it is recorded.
        oracle_gate: demand besides that the candidate beats the champion on the labels of the target's test.

    Raises UserError where the candidate does not win or can't be compared, and where there is none.
    """
    config = compose(overrides)
    assert config.selection is not None, "conf/config.yaml names one"
    model, validator = config.tracking.model, config.selection.best_by
    address = tracking.tracking_address(config.tracking.uri)
    registry = Registry(address)
    candidate = _candidate(registry, model, number)
    with mutex(address, f"{model}{LOCK}") as held:
        champion = registry.champion(model)
        if champion is None:
            tags = {"promotion.outcome": "first", "promotion.champion_before": "none"}
            return _crown(registry, held, candidate, model, tags, "there was no champion to beat")
        if champion.tags.get(FINGERPRINT) == candidate.tags.get(FINGERPRINT):
            return f"{candidate.uri} is the champion already, as {champion.uri}"
        verdict = _compare(registry, candidate, champion, validator, oracle_gate)
        tags = {**verdict.tags, "promotion.champion_before": champion.uri}
        if force is not None:
            tags |= {"promotion.outcome": "forced", "promotion.reason": force}
            told = f"forced ({force}); compared with {champion.uri}: {verdict.words}"
            return _crown(registry, held, candidate, model, tags, told)
        if not verdict.wins:
            registry.tag(candidate, {**tags, "promotion.outcome": "refused"})
            raise UserError(
                f"{candidate.uri} does not replace {champion.uri}: {verdict.words}.\n"
                'It stays a candidate; `mergershift promote --force "REASON"` would overrule that.'
            )
        told = f"better than {champion.uri}: {verdict.words}"
        return _crown(registry, held, candidate, model, {**tags, "promotion.outcome": "won"}, told)


def _candidate(registry: Registry, model: str, number: int | None) -> Version:
    name = f"{model}{CANDIDATES}"
    if number is not None:
        return registry.resolve(f"models:/{name}/{number}")
    every = registry.versions(name)
    if not every:
        raise UserError(f"{name}: no candidate is registered.\nRegister one with `mergershift register`.")
    return every[-1]


def _crown(
    registry: Registry, held: Held, candidate: Version, model: str, tags: dict[str, str], told: str
) -> str:
    copy = registry.copy(candidate, model, {**tags, "promotion.candidate": candidate.uri})
    held.check()
    registry.crown(copy)
    registry.tag(candidate, {**tags, "promotion.version": copy.uri})
    return f"{candidate.uri} is now the champion, {copy.uri}:\n{told}"


def _compare(
    registry: Registry, candidate: Version, champion: Version, validator: str, oracle_gate: bool
) -> _Verdict:
    ours, theirs = registry.fetch(candidate), registry.fetch(champion)
    facts = [packaging.Facts.read(folder) for folder in (ours, theirs)]
    differing = [name for name in _SAME if getattr(facts[0], name) != getattr(facts[1], name)]
    if differing:
        name = differing[0]
        pair = " and ".join(_short(getattr(each, name)) for each in facts)
        words = f"the two can't be compared, they differ in {', '.join(differing)} ({name}: {pair})"
        return _Verdict(False, words, {"promotion.incomparable": ", ".join(differing)})
    try:
        found = evaluation.challenge(_table(ours / VALIDATION), _table(theirs / VALIDATION), validator)
    except UserError as error:
        words = " ".join(str(error).split()).rstrip(".")
        return _Verdict(False, words, {"promotion.incomparable": words[:500]})
    wins, words, tags = _judge(found)
    if oracle_gate:
        passed, more, gate = _gate(ours, theirs)
        wins, words, tags = wins and passed, f"{words}; {more}", tags | gate
    return _Verdict(wins, words, tags)


def _judge(found: Challenge) -> tuple[bool, str, dict[str, str]]:
    low, high = found.difference["low"], found.difference["high"]
    words = (
        f"{found.validator} on validation images {found.difference['value']:+.4g} [{low:+.4g}, {high:+.4g}], "
        f"{found.galaxies} galaxies, where the lower bound has to lie above 0"
    )
    tags = {
        "promotion.validator": found.validator,
        "promotion.difference": repr(found.difference["value"]),
        "promotion.low": repr(low),
        "promotion.high": repr(high),
        "promotion.galaxies": str(found.galaxies),
        "promotion.resamples": str(found.resamples),
    }
    return low > 0, words, tags


def _gate(ours: Path, theirs: Path) -> tuple[bool, str, dict[str, str]]:
    """Whether the candidate beats the champion on the labels of the target's test."""
    tables = {
        name: evaluation.read_predictions(folder / TEST).assign(seed=0)
        for name, folder in (("candidate", ours), ("champion", theirs))
    }
    row = evaluation.compare(tables, "champion").iloc[0]
    words = (
        f"oracle gate, balanced accuracy on the target's test {row['difference']:+.3f} "
        f"[{row['low']:+.3f}, {row['high']:+.3f}]"
    )
    tags = {f"promotion.oracle_gate.{name}": repr(float(row[name])) for name in ("difference", "low", "high")}
    return bool(row["low"] > 0), words, tags


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not the validation images of a model ({type(error).__name__}).\n"
            "Register the model again with `mergershift register`."
        ) from error


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)
    return text if len(text) <= 90 else f"{text[:12]}..."
