"""The step that lets a candidate challenge the champion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from mergershift import evaluation, tracking
from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.evaluation import Challenge, Interval
from mergershift.registry.candidate import TEST, VALIDATION
from mergershift.registry.model_facts import Facts
from mergershift.registry.register import CANDIDATES
from mergershift.tracking.model_registry import FINGERPRINT, Registry, Version
from mergershift.tracking.mutex import Held, mutex

LOCK = "_promotion_lock"
OUTCOME, DETAILS = "promotion.outcome", "promotion.details"
"""Tags of a version: first, won, forced or refused, and in JSON what it was compared with and what came of it."""
_SAME = ("data_hash", "split", "filter_set", "source", "target")
"""What two models have to agree in before a comparison says which is better."""


@dataclass(frozen=True)
class _Verdict:
    """What came of a comparison: whether the candidate wins, why, and what is recorded."""

    wins: bool
    words: str
    figures: dict[str, Any]


def promote_step(
    overrides: tuple[str, ...], number: int | None, force: str | None = None, oracle_gate: bool = False
) -> str:
    """Make a candidate the champion if it beats the present one; returns up to three lines to print.

    The two are compared by the validator selection.best_by on the target's validation images, without its labels, and
    the lower end of the interval of the difference (`evaluation.challenge`) has to lie above 0. Without a champion
    there is nothing to beat; one whose files are lost or damaged gives way only to force. Whatever comes of it is
    recorded in tags of the version. Of two promotions at once the second one waits and then challenges the new
    champion.

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
        crowning = _Crowning(registry, held, candidate, model)
        champion = registry.champion(model)
        if champion is None:
            reason = {} if force is None else {"reason": force}
            return crowning.told(
                "first", {"champion_before": None, **reason}, "there was no champion to beat"
            )
        if champion.tags.get(FINGERPRINT) == candidate.tags.get(FINGERPRINT):
            return f"{candidate.uri} is the champion already, as {champion.uri}"
        with Console(stderr=True).status(f"comparing {candidate.uri} with {champion.uri}"):
            verdict = _compare(registry, candidate, champion, validator, oracle_gate, force is not None)
        details = {"champion_before": champion.uri, **verdict.figures}
        if force is not None:
            words = f"forced ({force}); beside {champion.uri}: {verdict.words}"
            return crowning.told("forced", {**details, "reason": force}, words)
        if verdict.wins:
            return crowning.told("won", details, f"better than {champion.uri}: {verdict.words}")
        registry.tag(candidate, _tags("refused", details))
        raise UserError(
            f"{candidate.uri} does not replace {champion.uri}: {verdict.words}.\n"
            'It stays a candidate; `mergershift promote --force "REASON"` would overrule that.'
        )


@dataclass(frozen=True)
class _Crowning:
    """Makes a candidate the champion of a model, while the mutex is held."""

    registry: Registry
    held: Held
    candidate: Version
    model: str

    def told(self, outcome: str, details: dict[str, Any], words: str) -> str:
        """Do it, record how it came about and return what to print."""
        details = {**details, "candidate": self.candidate.uri}
        copy = self.registry.copy(self.candidate, self.model, _tags(outcome, details))
        self.held.check()
        self.registry.crown(copy)
        self.registry.tag(self.candidate, _tags(outcome, {**details, "version": copy.uri}))
        return f"{self.candidate.uri} is now the champion, {copy.uri}:\n{words}"


def _tags(outcome: str, details: dict[str, Any]) -> dict[str, str]:
    return {OUTCOME: outcome, DETAILS: json.dumps(details, sort_keys=True)}


def _candidate(registry: Registry, model: str, number: int | None) -> Version:
    name = f"{model}{CANDIDATES}"
    if number is not None:
        return registry.resolve(f"models:/{name}/{number}")
    every = registry.versions(name)
    if not every:
        raise UserError(f"{name}: no candidate is registered.\nRegister one with `mergershift register`.")
    return every[-1]


def _compare(
    registry: Registry,
    candidate: Version,
    champion: Version,
    validator: str,
    oracle_gate: bool,
    forced: bool,
) -> _Verdict:
    ours = registry.fetch(candidate)
    facts = [Facts.read(ours)]
    try:
        theirs = registry.fetch(champion)
        facts.append(Facts.read(theirs))
    except UserError as error:
        # A champion that nobody can use must be replaceable; a candidate in that state is refused above.
        if not forced:
            raise
        return _incomparable(error)
    differing = [name for name in _SAME if getattr(facts[0], name) != getattr(facts[1], name)]
    if differing:
        name = differing[0]
        pair = " and ".join(_short(getattr(each, name)) for each in facts)
        words = f"the two can't be compared, they differ in {', '.join(differing)} ({name}: {pair})"
        return _Verdict(False, words, {"incomparable": differing})
    try:
        found = evaluation.challenge(_table(ours / VALIDATION), _table(theirs / VALIDATION), validator)
    except UserError as error:
        return _incomparable(error)
    verdict = _judge(found)
    if not oracle_gate:
        return verdict
    gate = _gate(ours, theirs)
    return _Verdict(
        verdict.wins and gate.wins, f"{verdict.words}; {gate.words}", verdict.figures | gate.figures
    )


def _incomparable(error: UserError) -> _Verdict:
    words = " ".join(str(error).split()).rstrip(".")
    return _Verdict(False, words, {"incomparable": words})


def _judge(found: Challenge) -> _Verdict:
    difference = found.difference
    words = (
        f"{found.validator} on validation images {_figure(difference)}, {found.galaxies} galaxies "
        "(the lower bound has to lie above 0)"
    )
    return _Verdict(difference["low"] > 0, words, found._asdict())


def _gate(ours: Path, theirs: Path) -> _Verdict:
    """Whether the candidate beats the champion on the labels of the target's test."""
    tables = {
        name: evaluation.read_predictions(folder / TEST).assign(seed=0)
        for name, folder in (("candidate", ours), ("champion", theirs))
    }
    row = evaluation.compare(tables, "champion").iloc[0]
    found = Interval(value=float(row["difference"]), low=float(row["low"]), high=float(row["high"]))
    words = f"oracle gate, balanced accuracy on the target's test {_figure(found)}"
    return _Verdict(found["low"] > 0, words, {"oracle_gate": found})


def _figure(interval: Interval) -> str:
    return f"{interval['value']:+.4g} [{interval['low']:+.4g}, {interval['high']:+.4g}]"


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
