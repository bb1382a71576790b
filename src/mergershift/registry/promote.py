"""The step in which a candidate challenges the champion."""

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
from mergershift.core.reading import Columns, read_csv
from mergershift.evaluation import Challenge, Interval
from mergershift.registry.candidate import TEST, VALIDATION
from mergershift.registry.model_facts import ModelFacts
from mergershift.registry.register import CANDIDATES
from mergershift.tracking.model_registry import FINGERPRINT, Registry, Version

OUTCOME, DETAILS = "promotion.outcome", "promotion.details"
"""Tags of a version: the outcome (first, won, forced or refused), and the details of the comparison as JSON."""
_TABLE: Columns = {"role": str, "row": int, "galaxy": int, "camera": int, "label": float, "log_odds": float}
"""Columns of a model's table of validation images."""
_ATTEMPTS = 3
_MUST_AGREE = ("data_hash", "split", "filter_set", "source", "target")
"""Facts that must be equal for two models to be comparable."""


@dataclass(frozen=True)
class _Verdict:
    """Result of a comparison: whether the candidate wins, the reason, and the details to record."""

    wins: bool
    reason: str
    details: dict[str, Any]


def promote_step(
    overrides: tuple[str, ...], number: int | None, force: str | None = None, oracle_gate: bool = False
) -> str:
    """Make a candidate the champion if it beats the current one; returns up to three lines to print.

    Both are compared by the validator selection.best_by on the target's validation images, without their labels. The
    candidate wins if the lower bound of the difference (`evaluation.challenge`) is above 0, or if there is no
    champion. A champion whose files are missing or damaged can only be replaced by force. The outcome is recorded in
    tags of the version. If another promotion changes the champion during the comparison, the candidate challenges the
    new one.

    Args:
        overrides: overrides of the configuration, for instance selection.best_by=target_entropy.
        number: version of the candidate; the newest one if None.
        force: reason for promoting the candidate regardless of the comparison; it is recorded.
        oracle_gate: require in addition that the candidate beats the champion on the labels of the target's test rows.

    Raises UserError if there is no candidate, if it does not win, or if it cannot be compared with the champion.
    """
    config = compose(overrides)
    assert config.selection is not None, "conf/config.yaml names a selection"
    model = config.tracking.model
    registry = Registry(tracking.tracking_address(config.tracking.uri))
    candidate = _candidate(registry, model, number)
    for _ in range(_ATTEMPTS):
        champion = registry.champion(model)
        if champion is not None and champion.tags.get(FINGERPRINT) == candidate.tags.get(FINGERPRINT):
            return f"{candidate.uri} is already the champion, as {champion.uri}"
        decision = _decide(registry, candidate, champion, config.selection.best_by, force, oracle_gate)
        details = {**decision.details, "champion_before": champion and champion.uri}
        if decision.outcome == "refused":
            registry.tag(candidate, _tags("refused", details))
            raise UserError(
                f"{candidate.uri} does not replace {champion.uri if champion else model}: {decision.reason}.\n"
                'It remains a candidate; `mergershift promote --force "REASON"` promotes it regardless.'
            )
        details["candidate"] = candidate.uri
        copy = registry.copy(candidate, model, {})
        if not _same(registry.champion(model), champion):
            continue  # another promotion changed the champion during the comparison
        registry.set_champion(copy)
        if not _same(registry.champion(model), copy):
            raise UserError(
                f"{copy.uri}: another promotion made a different model the champion at the same moment.\n"
                "Run the command again to challenge that model."
            )
        # Only now, so that a version that did not become the champion does not claim that it did.
        registry.tag(copy, _tags(decision.outcome, details))
        registry.tag(candidate, _tags(decision.outcome, {**details, "version": copy.uri}))
        return f"{candidate.uri} is now the champion, {copy.uri}:\n{decision.reason}"
    raise UserError(
        f"{model}: its champion changed {_ATTEMPTS} times while {candidate.uri} was being compared with it.\n"
        "Run the command again when the other promotions have finished."
    )


@dataclass(frozen=True)
class _Decision:
    """What to do with a candidate."""

    outcome: Literal["first", "won", "forced", "refused"]
    reason: str
    details: dict[str, Any]
    """Content of the version's tag `DETAILS`."""


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
    details = {**verdict.details, **forced}
    if force is not None:
        return _Decision("forced", f"forced ({force}); against {champion.uri}: {verdict.reason}", details)
    if verdict.wins:
        return _Decision("won", f"better than {champion.uri}: {verdict.reason}", details)
    return _Decision("refused", verdict.reason, details)


def _same(actual: Version | None, expected: Version | None) -> bool:
    return (actual and actual.uri) == (expected and expected.uri)


def _tags(outcome: str, details: dict[str, Any]) -> dict[str, str]:
    return {OUTCOME: outcome, DETAILS: json.dumps(details, sort_keys=True)}


def _candidate(registry: Registry, model: str, number: int | None) -> Version:
    name = f"{model}{CANDIDATES}"
    if number is not None:
        return registry.resolve(f"models:/{name}/{number}")
    versions = registry.versions(name)
    if not versions:
        raise UserError(f"{name}: no candidate is registered.\nRegister one with `mergershift register`.")
    return versions[-1]


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
        # It must be possible to replace a champion that cannot be used; such a candidate was refused above.
        if not forced:
            raise
        return _incomparable(error)
    differing = [name for name in _MUST_AGREE if getattr(facts[0], name) != getattr(facts[1], name)]
    if differing:
        name = differing[0]
        values = " and ".join(_shortened(getattr(model, name)) for model in facts)
        reason = (
            f"the two cannot be compared because they differ in {', '.join(differing)} ({name}: {values})"
        )
        return _Verdict(False, reason, {"incomparable": differing})
    try:
        result = evaluation.challenge(_table(ours / VALIDATION), _table(theirs / VALIDATION), validator)
    except UserError as error:
        return _incomparable(error)
    verdict = _judge(result)
    if not oracle_gate:
        return verdict
    gate = _gate(ours, theirs)
    return _Verdict(
        verdict.wins and gate.wins, f"{verdict.reason}; {gate.reason}", verdict.details | gate.details
    )


def _incomparable(error: UserError) -> _Verdict:
    reason = " ".join(str(error).split()).rstrip(".")
    return _Verdict(False, reason, {"incomparable": reason})


def _judge(result: Challenge) -> _Verdict:
    difference = result.difference
    reason = (
        f"difference in {result.validator} on validation images {_with_bounds(difference)}, "
        f"{result.galaxies} galaxies (the lower bound must be above 0)"
    )
    return _Verdict(difference["low"] > 0, reason, result._asdict())


def _gate(ours: Path, theirs: Path) -> _Verdict:
    """Compare both models by balanced accuracy on the target's test rows, with their labels."""
    tables = {
        name: evaluation.read_predictions(folder / TEST).assign(seed=0)
        for name, folder in (("candidate", ours), ("champion", theirs))
    }
    row = evaluation.compare(tables, "champion").iloc[0]
    difference = Interval(value=float(row["difference"]), low=float(row["low"]), high=float(row["high"]))
    reason = (
        f"oracle gate, difference in balanced accuracy on the target's test rows {_with_bounds(difference)}"
    )
    return _Verdict(difference["low"] > 0, reason, {"oracle_gate": difference})


def _with_bounds(interval: Interval) -> str:
    return f"{interval['value']:+.4g} [{interval['low']:+.4g}, {interval['high']:+.4g}]"


def _table(path: Path) -> pd.DataFrame:
    return read_csv(path, _TABLE, "Register the model again with `mergershift register`.")


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= 140 else f"{text[:12]}..."
