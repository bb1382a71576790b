"""Comparison of a candidate with the champion, by the files of both models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mergershift import evaluation
from mergershift.core.errors import UserError
from mergershift.core.reading import Columns, read_csv
from mergershift.evaluation import Interval
from mergershift.registry.candidate import TEST, VALIDATION
from mergershift.registry.model_facts import ModelFacts
from mergershift.tracking.model_registry import Registry
from mergershift.tracking.model_version import DIGITS, Version

_TABLE: Columns = {"role": str, "row": int, "galaxy": int, "camera": int, "label": float, "log_odds": float}
"""Columns of a model's table of validation images."""
_MUST_AGREE = ("data_hash", "split", "filter_set", "source", "target")
"""Facts that must be equal for two models to be comparable."""


@dataclass(frozen=True)
class Measured:
    """Difference between candidate and champion in one score on the same images; higher scores are better."""

    score: str
    difference: Interval
    images: str
    """The images, as part of a sentence."""
    values: tuple[float, float] | None = None
    """The scores of candidate and champion, where they are known."""

    def clause(self, other: str, *, of_champion: bool) -> str:
        """Describe the difference from the point of view of the candidate or champion; `other` names the other one."""
        low, value, high = (self.difference[bound] for bound in ("low", "value", "high"))
        values = self.values
        if of_champion:
            low, value, high = -high, -value, -low
            values = values and values[::-1]
        against = f"against {_number(values[1])} of {other}" if values else f"against {other}"
        score = f"{self.score} {_number(values[0])}" if values else self.score
        bounds = f"[{_number(low, '+')}, {_number(high, '+')}]"
        return f"{score} {against}, difference {_number(value, '+')} {bounds}, on {self.images}"


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison: differences in one or more scores, or the reason why there are none."""

    measured: tuple[Measured, ...] = ()
    obstacle: str = ""

    @property
    def wins(self) -> bool:
        """Whether the candidate is better by every score: the interval of each difference is above 0."""
        return bool(self.measured) and all(measured.difference["low"] > 0 for measured in self.measured)

    def clause(self, other: str, *, of_champion: bool = False) -> str:
        """Describe the result from the point of view of the candidate or champion; `other` names the other one."""
        return "; ".join(measured.clause(other, of_champion=of_champion) for measured in self.measured) or (
            self.obstacle
        )


def compare(
    registry: Registry,
    candidate: Version,
    champion: Version,
    validator: str,
    *,
    oracle_gate: bool,
    forced: bool,
) -> Comparison:
    """Compare two versions by a validator on the target's validation images, without their labels.

    The images are those of the half of the validation galaxies that no epoch is chosen on.

    Args:
        registry: registry of both versions.
        candidate: the version that challenges the champion.
        champion: the champion.
        validator: name of the validator.
        oracle_gate: compare in addition by the labels of the target's test rows.
        forced: whether the candidate is promoted whatever the result, even if the champion's files are lost.

    Raises UserError if the files of a version are missing or damaged, except a champion's that is replaced by force.
    """
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
        return Comparison(
            obstacle=f"the two cannot be compared because they differ in {', '.join(differing)} ({name}: {values})"
        )
    try:
        one, other = (_judging(_table(model / VALIDATION), facts[0].split.seed) for model in (ours, theirs))
        found = evaluation.challenge(one, other, validator)
    except UserError as error:
        return _incomparable(error)
    measured = Measured(
        validator.replace("_", " "),
        found.difference,
        f"{found.images} target validation images of {found.galaxies} galaxies",
        (found.candidate, found.champion),
    )
    return Comparison((measured, _gate(ours, theirs)) if oracle_gate else (measured,))


def _gate(ours: Path, theirs: Path) -> Measured:
    """Compare both models by balanced accuracy on the target's test rows, with their labels."""
    tables = {
        name: evaluation.read_predictions(folder / TEST).assign(seed=0)
        for name, folder in (("candidate", ours), ("champion", theirs))
    }
    row = evaluation.compare(tables, "champion").iloc[0]
    difference = Interval(value=float(row["difference"]), low=float(row["low"]), high=float(row["high"]))
    images = f"{row['images']} target test images of {row['galaxies']} galaxies, with their labels"
    return Measured("oracle gate, balanced accuracy", difference, images)


def _incomparable(error: UserError) -> Comparison:
    return Comparison(obstacle=" ".join(str(error).split()).rstrip("."))


def _judging(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return the images of the half of the galaxies that no epoch is chosen on, by which models are compared.

    Tables of all versions have the images of all validation galaxies, so that old and new models can be compared.
    """
    known = table[table["role"] == "source"]
    judging = evaluation.half_of("judging", known["galaxy"], known["label"], seed)
    return table[table["galaxy"].isin(judging)]


def _table(path: Path) -> pd.DataFrame:
    return read_csv(path, _TABLE, "Register the model again with `mergershift register`.", others=float)


def _number(value: float, sign: str = "") -> str:
    """Write a number with three decimals, or two digits if it is closer to 0 than that."""
    return format(value, f"{sign}.3f" if abs(value) >= 0.001 or value == 0 else f"{sign}.2g")


def _shortened(value: object) -> str:
    text = str(value)
    if re.fullmatch(r"[0-9a-f]{32,}", text):
        return text[:DIGITS]
    return text if len(text) <= 140 else f"{text[:12]}..."
