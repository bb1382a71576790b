"""The step that lets a candidate challenge the champion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console

from mergershift import evaluation, tracking
from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.evaluation import Challenge, Interval
from mergershift.registry.candidate import TEST, VALIDATION
from mergershift.registry.model_facts import ModelFacts
from mergershift.registry.register import CANDIDATES
from mergershift.tracking.model_registry import FINGERPRINT, Registry, Version

OUTCOME, DETAILS = "promotion.outcome", "promotion.details"
"""Tags of a version: first, won, forced or refused, and in JSON what it was compared with and what came of it."""
_ATTEMPTS = 3
_MUST_AGREE = ("data_hash", "split", "filter_set", "source", "target")
"""What two models have to agree in before a comparison says which is better."""


@dataclass(frozen=True)
class _Verdict:
    """What came of a comparison: whether the candidate wins, why, and what is recorded."""

    wins: bool
    reason: str
    figures: dict[str, Any]


def promote_step(
    overrides: tuple[str, ...], number: int | None, force: str | None = None, oracle_gate: bool = False
) -> str:
    """Make a candidate the champion if it beats the present one; returns up to three lines to print.

    The two are compared by the validator selection.best_by on the target's validation images, without its labels, and
    the lower end of the interval of the difference (`evaluation.challenge`) has to lie above 0. Without a champion
    there is nothing to beat; one whose files are lost or damaged gives way only to force. Whatever comes of it is
    recorded in tags of the version. Where another promotion was quicker, the candidate challenges the new champion.

    Args:
        overrides: of conf/, for instance selection.best_by=target_entropy.
        number: version of the candidate; the newest one if None.
        force: the reason for a promotion whatever the comparison says; it is recorded.
        oracle_gate: demand in addition that the candidate beats the champion on the labels of the target's test.

    Raises UserError where the candidate does not win or cannot be compared, and where there is none.
    """
    config = compose(overrides)
    assert config.selection is not None, "conf/config.yaml names one"
    model = config.tracking.model
    registry = Registry(tracking.tracking_address(config.tracking.uri))
    candidate = _candidate(registry, model, number)
    for _ in range(_ATTEMPTS):
        champion = registry.champion(model)
        if champion is not None and champion.tags.get(FINGERPRINT) == candidate.tags.get(FINGERPRINT):
            return f"{candidate.uri} is the champion already, as {champion.uri}"
        decision = _decide(registry, candidate, champion, config.selection.best_by, force, oracle_gate)
        details = {**decision.details, "champion_before": champion and champion.uri}
        if decision.outcome == "refused":
            _refuse(registry, candidate, model, details)
            raise UserError(
                f"{candidate.uri} does not replace {champion.uri if champion else model}: {decision.reason}.\n"
                'It stays a candidate; `mergershift promote --force "REASON"` would overrule that.'
            )
        details["candidate"] = candidate.uri
        copy = registry.copy(candidate, model, _tags(decision.outcome, details))
        if not _same(registry.champion(model), champion):
            continue  # another promotion went ahead while these two were compared
        registry.set_champion(copy)
        if not _same(registry.champion(model), copy):
            raise UserError(
                f"{copy.uri}: another promotion made its model the champion in the same moment.\n"
                "Give the command again to challenge that one."
            )
        registry.tag(candidate, _tags(decision.outcome, {**details, "version": copy.uri}))
        return f"{candidate.uri} is now the champion, {copy.uri}:\n{decision.reason}"
    raise UserError(
        f"{model}: its champion changed {_ATTEMPTS} times while {candidate.uri} was compared with it.\n"
        "Give the command again when the other promotions have ended."
    )


@dataclass(frozen=True)
class _Decision:
    """What is to become of a candidate."""

    outcome: Literal["first", "won", "forced", "refused"]
    reason: str
    details: dict[str, Any]
    """What the tag of the version records."""


def _decide(
    registry: Registry,
    candidate: Version,
    champion: Version | None,
    validator: str,
    force: str | None,
    oracle_gate: bool,
) -> _Decision:
    forced = {} if force is None else {"reason": force}
    if champion is None:
        return _Decision("first", "there was no champion to beat", forced)
    with Console(stderr=True).status(f"comparing {candidate.uri} with {champion.uri}"):
        verdict = _compare(registry, candidate, champion, validator, oracle_gate, force is not None)
    details = {**verdict.figures, **forced}
    if force is not None:
        return _Decision("forced", f"forced ({force}); beside {champion.uri}: {verdict.reason}", details)
    if verdict.wins:
        return _Decision("won", f"better than {champion.uri}: {verdict.reason}", details)
    return _Decision("refused", verdict.reason, details)


def _refuse(registry: Registry, candidate: Version, model: str, details: dict[str, Any]) -> None:
    """Record it, also with the version that an attempt before this one may have made."""
    copy = registry.same(model, candidate.tags[FINGERPRINT])
    for version in filter(None, (candidate, copy)):
        registry.tag(version, _tags("refused", details))


def _same(found: Version | None, expected: Version | None) -> bool:
    return (found and found.uri) == (expected and expected.uri)


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
    facts = [ModelFacts.read(ours)]
    try:
        theirs = registry.fetch(champion)
        facts.append(ModelFacts.read(theirs))
    except UserError as error:
        # A champion that nobody can use must be replaceable; a candidate in that state is refused above.
        if not forced:
            raise
        return _incomparable(error)
    differing = [name for name in _MUST_AGREE if getattr(facts[0], name) != getattr(facts[1], name)]
    if differing:
        name = differing[0]
        pair = " and ".join(_short(getattr(each, name)) for each in facts)
        reason = f"the two cannot be compared, they differ in {', '.join(differing)} ({name}: {pair})"
        return _Verdict(False, reason, {"incomparable": differing})
    try:
        found = evaluation.challenge(_table(ours / VALIDATION), _table(theirs / VALIDATION), validator)
    except UserError as error:
        return _incomparable(error)
    verdict = _judge(found)
    if not oracle_gate:
        return verdict
    gate = _gate(ours, theirs)
    return _Verdict(
        verdict.wins and gate.wins, f"{verdict.reason}; {gate.reason}", verdict.figures | gate.figures
    )


def _incomparable(error: UserError) -> _Verdict:
    reason = " ".join(str(error).split()).rstrip(".")
    return _Verdict(False, reason, {"incomparable": reason})


def _judge(found: Challenge) -> _Verdict:
    difference = found.difference
    reason = (
        f"{found.validator} on validation images {_figure(difference)}, {found.galaxies} galaxies "
        "(the lower bound has to lie above 0)"
    )
    return _Verdict(difference["low"] > 0, reason, found._asdict())


def _gate(ours: Path, theirs: Path) -> _Verdict:
    """Whether the candidate beats the champion on the labels of the target's test."""
    tables = {
        name: evaluation.read_predictions(folder / TEST).assign(seed=0)
        for name, folder in (("candidate", ours), ("champion", theirs))
    }
    row = evaluation.compare(tables, "champion").iloc[0]
    found = Interval(value=float(row["difference"]), low=float(row["low"]), high=float(row["high"]))
    reason = f"oracle gate, balanced accuracy on the target's test {_figure(found)}"
    return _Verdict(found["low"] > 0, reason, {"oracle_gate": found})


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
    text = str(value)
    return text if len(text) <= 90 else f"{text[:12]}..."
