"""The outcome of a promotion, and its record on the pages of the versions that took part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import shorten
from typing import Literal

from mergershift.registry.comparison import Comparison
from mergershift.registry.pages import with_promotion
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.model_version import Version

OUTCOME, PROMOTION = "promotion.outcome", "promotion"
"""Tags of a version: its latest outcome (first, won, forced, refused or replaced), and that as a sentence."""
_FORMER_DETAILS = "promotion.details"
"""Tag in which earlier versions of mergershift kept the latest comparison as JSON."""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Decision:
    """What to do with a candidate, and why."""

    outcome: Literal["first", "won", "forced", "refused"]
    comparison: Comparison
    force: str | None = None
    """The user's reason for promoting the candidate regardless of the comparison."""

    def why(self, champion: Version | None) -> str:
        """Word the reason from the point of view of the candidate."""
        forced = "" if self.force is None else f"by force ({shorten(self.force, _LONGEST_REASON)})"
        found = self.comparison.clause(champion.title) if champion else "there was no champion to beat"
        return "; ".join(filter(None, [forced, found]))


def record_promotion(
    registry: Registry, candidate: Version, copy: Version, champion: Version | None, decision: Decision
) -> None:
    """Record on the new champion, on the candidate that it is a copy of and on the former champion what happened."""
    day, why = _today(), decision.why(champion)
    _record(registry, copy, f"Champion since {day}: {why}.", decision.outcome)
    # The candidate's page does not learn when its copy is replaced, so it says only what stays true.
    _record(registry, candidate, f"Promoted on {day} as {copy.title}: {why}.", decision.outcome)
    if champion is not None:
        found = decision.comparison.clause(copy.title, of_champion=True)
        _record(registry, champion, f"Champion until {day}, replaced by {copy.title}: {found}.", "replaced")


def record_refusal(registry: Registry, candidate: Version, champion: Version, comparison: Comparison) -> None:
    """Record on the candidate and on the champion that the champion remains."""
    day = _today()
    lost, kept = comparison.clause(champion.title), comparison.clause(candidate.title, of_champion=True)
    _record(registry, candidate, f"Not promoted on {day}: {lost}.", "refused")
    # The champion's tags go on to say since when it is one.
    _record(registry, champion, f"Remained champion on {day}: {kept}.")


def _record(registry: Registry, version: Version, sentence: str, outcome: str | None = None) -> None:
    if outcome is not None:
        registry.tag(version, {OUTCOME: outcome, PROMOTION: sentence, _FORMER_DETAILS: None})
    registry.describe(version, with_promotion(version.description, sentence))


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
