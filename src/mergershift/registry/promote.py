"""The step in which a candidate challenges the champion."""

from __future__ import annotations

from rich.console import Console

from mergershift import tracking
from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.registry.comparison import Comparison, compare
from mergershift.registry.outcome import Decision, record_promotion, record_refusal
from mergershift.registry.pages import model_description
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.model_version import Version
from mergershift.tracking.roles import CANDIDATES, MAINTAINER

_ATTEMPTS = 3


def promote_step(
    config: Config, number: int | None, force: str | None = None, oracle_gate: bool = False
) -> str:
    """Make a candidate the champion if it beats the current one; returns up to three lines to print.

    Both are compared by the validator selection.best_by on the target's validation images, without their labels. The
    candidate wins if the lower bound of the difference (`evaluation.challenge`) is above 0, or if there is no
    champion. A champion whose files are missing or damaged can only be replaced by force. The outcome is recorded in
    the tags and descriptions of the versions that took part. If another promotion changes the champion during the
    comparison, the candidate challenges the new one.

    Args:
        config: names the model, the server and the validator (selection.best_by).
        number: version of the candidate; the newest one if None.
        force: reason for promoting the candidate regardless of the comparison; it is recorded.
        oracle_gate: require in addition that the candidate beats the champion on the labels of the target's test rows.

    Raises UserError if there is no candidate, if it does not win, or if it cannot be compared with the champion.
    """
    assert config.selection is not None, "conf/config.yaml names a selection"
    model = config.tracking.model
    registry = Registry(tracking.tracking_address(config.tracking.uri))
    registry.require_write(model, MAINTAINER)
    candidate = _candidate(registry, model, number)
    for _ in range(_ATTEMPTS):
        champion = registry.champion(model)
        if champion is not None and champion.fingerprint == candidate.fingerprint:
            return f"{candidate.uri} is already the champion, as {champion.uri}{_page(registry, champion)}"
        decision = _decide(registry, candidate, champion, config.selection.best_by, force, oracle_gate)
        if decision.outcome == "refused":
            assert champion is not None, "without a champion, none refuses"
            record_refusal(registry, candidate, champion, decision.comparison)
            reason = decision.why(champion)
            rule = " (the lower bound must be above 0)" if decision.comparison.measured else ""
            raise UserError(
                f"{candidate.uri} does not replace the champion {champion.uri}: {reason}{rule}.\n"
                'It remains a candidate; `mergershift promote --force "REASON"` promotes it regardless.'
            )
        copy = registry.copy(candidate, model)
        if not _same(registry.champion(model), champion):
            continue  # another promotion changed the champion during the comparison
        registry.set_champion(copy)
        if not _same(registry.champion(model), copy):
            raise UserError(
                f"{copy.uri}: another promotion made a different model the champion at the same moment.\n"
                "Run the command again to challenge that model."
            )
        # Only now, so that a version that did not become the champion does not claim that it did.
        record_promotion(registry, candidate, copy, champion, decision)
        registry.describe_model(model, model_description(model, model, registry.address))
        return (
            f"{candidate.uri} is now the champion, as {copy.uri}: {decision.why(champion)}.\n"
            f"Use it with `mergershift predict IMAGES --model models:/{model}@champion`.{_page(registry, copy)}"
        )
    raise UserError(
        f"{model}: its champion changed {_ATTEMPTS} times while {candidate.uri} was being compared with it.\n"
        "Run the command again when the other promotions have finished."
    )


def _page(registry: Registry, version: Version) -> str:
    page = registry.page(version)
    return f"\nIts page: {page}" if page else ""


def _decide(
    registry: Registry,
    candidate: Version,
    champion: Version | None,
    validator: str,
    force: str | None,
    oracle_gate: bool,
) -> Decision:
    if champion is None:
        return Decision("first", Comparison(), force)
    with Console(stderr=True).status(f"comparing {candidate.uri} with {champion.uri}"):
        comparison = compare(
            registry, candidate, champion, validator, oracle_gate=oracle_gate, forced=force is not None
        )
    if force is not None:
        return Decision("forced", comparison, force)
    return Decision("won" if comparison.wins else "refused", comparison)


def _same(actual: Version | None, expected: Version | None) -> bool:
    return (actual and actual.uri) == (expected and expected.uri)


def _candidate(registry: Registry, model: str, number: int | None) -> Version:
    name = f"{model}{CANDIDATES}"
    if number is not None:
        return registry.resolve(f"models:/{name}/{number}")
    versions = registry.versions(name)
    if not versions:
        raise UserError(f"{name}: no candidate is registered.\nRegister one with `mergershift register`.")
    return versions[-1]
