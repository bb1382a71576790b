"""Comparison of single trainings: what they differ in, their scores, and paired differences on the same galaxies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, NamedTuple

import pandas as pd

from mergershift import evaluation
from mergershift.archive import images_of
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import TRAINED
from mergershift.cells.records import RunSpec
from mergershift.cells.run_content import run_spec
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.nesting import flattened
from mergershift.evaluation import ROLES
from mergershift.tracking import presentation
from mergershift.tracking.find_training import find_training

METRICS = ("balanced_accuracy", "auc", "ece")
_GIVEN_OTHERWISE = ("choices", "tracking", "transfer", "seed", "filters")
"""Parts of the configuration that the parameters give, or that have no part in the result."""
MOST_RUNS = len(ascii_uppercase)


class PairedDifference(NamedTuple):
    """A difference of balanced accuracies on the same galaxies, with its 95 % interval (see `evaluation.compare`)."""

    value: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """An evaluated training among those that are compared."""

    letter: str
    training: FinishedTraining
    spec: RunSpec

    @property
    def name(self) -> str:
        """Name of its run in MLflow."""
        return presentation.run_name(self.spec)

    @property
    def folder(self) -> str:
        """Its folder, relative to the project's root."""
        return self.training.folder.relative_to(root()).as_posix()

    @property
    def images(self) -> str:
        """What its images are, in words."""
        seed = self.spec.tags.get("data_seed")
        return images_of(self.training.trained.provenance.kind) + (f" (seed {seed})" if seed else "")

    @property
    def scores(self) -> dict[str, Mapping[str, float]]:
        """Metrics on the test images of both domains, by role and name; each has value, low and high."""
        results = self.training.results
        found: dict[str, Mapping[str, float]] = {}
        for role in reversed(ROLES):
            for metric in METRICS:
                interval = results.get(role, {}).get("unique", {}).get(metric)
                if interval is not None:
                    found[f"{role} {metric}"] = dict(interval)  # type: ignore[arg-type]
        return found

    @property
    def choice(self) -> dict[str, Any]:
        """How its epoch and its threshold were chosen."""
        chosen = self.training.selection
        return {
            "epoch": chosen.epoch,
            "epoch chosen by": chosen.validator,
            "threshold": chosen.threshold,
            "threshold chosen by": chosen.threshold_rule,
        }

    @property
    def validators(self) -> dict[str, float]:
        """Scores of the chosen epoch by all validators, on the judging half."""
        names = [str(name) for name in self.training.judged if name not in ("epoch", "chosen")]
        return {name: self.training.score(name) for name in names}

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of galaxies and of their renderings among the target's test images."""
        target = self.training.target
        return target["galaxy"].nunique(), len(target)

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the configuration that no parameter gives, and the code's version, by their keys."""
        given = set(presentation.PARAMETERS.values())
        found = {
            key: value
            for key, value in flattened(self.training.config.dump())
            if key not in given and key.partition(".")[0] not in _GIVEN_OTHERWISE
        }
        commit = self.training.trained.git_commit
        changed = " with changes" * self.training.trained.git_dirty
        return found | {"commit": f"{commit[:10]}{changed}" if commit else None}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Trainings side by side; each of the others is compared with the first."""

    runs: Sequence[ComparedRun]
    differences: Mapping[str, Mapping[str, PairedDifference]]
    """Differences in balanced accuracy from the first run, by letter and role."""
    reasons: Mapping[str, Mapping[str, str]]
    """Why there is no difference, by letter and role."""

    @property
    def parameters(self) -> dict[str, list[str | None]]:
        """Parameters that are not the same in all runs, with the values of all."""
        found = _differing([presentation.parameters(run.spec) for run in self.runs])
        found.pop("settings", None)  # which of them differ is listed
        if found.get("adaptation") == found.get("method"):
            found.pop("adaptation", None)
        return found

    @property
    def settings(self) -> dict[str, list[Any]]:
        """All further settings that are not the same in all runs."""
        return _differing([run.settings for run in self.runs])


def compare_runs(names: Sequence[str]) -> Comparison:
    """Compare the evaluated trainings that `names` name (`find_training`), the first with all others.

    Raises UserError if one is not found, is not evaluated, or is named twice.
    """
    if len(names) > MOST_RUNS:
        raise UserError(f"{len(names)} runs, expected at most {MOST_RUNS}.\nLeave some of them out.")
    runs: list[ComparedRun] = []
    for letter, name in zip(ascii_uppercase, names, strict=False):
        training = find_training(name)
        _ = training.selection, training.results  # raises here unless the training has been evaluated
        same = next((run for run in runs if run.training.record.training == training.record.training), None)
        if same is not None:
            raise UserError(f"{name}: the same training as {same.folder}.\nName two different trainings.")
        runs.append(ComparedRun(letter, training, run_spec(training.folder / TRAINED, training.record)))
    first, *others = runs
    differences: dict[str, dict[str, PairedDifference]] = {run.letter: {} for run in others}
    reasons: dict[str, dict[str, str]] = {run.letter: {} for run in others}
    for role in reversed(ROLES):
        pairable = []
        for run in others:
            reason = _unlike(first, run, role)
            if reason is None:
                pairable.append(run)
            else:
                reasons[run.letter][role] = reason
        for run, found in zip(pairable, _paired(first, pairable, role), strict=True):
            differences[run.letter][role] = found
    return Comparison(runs, differences, reasons)


def _unlike(first: ComparedRun, other: ComparedRun, role: str) -> str | None:
    """Say why the tests of two runs do not show the same images; None if they do."""
    facts, of_other = first.training.trained, other.training.trained
    if facts.data_hash != of_other.data_hash:
        filters = [run.training.config.filters.name for run in (first, other)]
        if filters[0] != filters[1]:
            return (
                f"it was tested on images in other filters ({filters[1]}) than {first.letter} ({filters[0]})"
            )
        described = [presentation.data(run.spec) or "unknown" for run in (first, other)]
        which = f" ({described[1]}; {first.letter}: {described[0]})" if described[0] != described[1] else ""
        return f"it was tested on images other than those of {first.letter}{which}"
    if facts.split != of_other.split:
        rules = _differing([facts.split.model_dump(), of_other.split.model_dump()])
        shown = ", ".join(f"{key} {ours}, not {theirs}" for key, (theirs, ours) in rules.items())
        return f"its split shows other test galaxies than that of {first.letter} ({shown})"
    domains = [getattr(run.training.config.transfer, role) for run in (first, other)]
    if domains[0] != domains[1]:
        return f"its {role} images are {domains[1]}, those of {first.letter} are {domains[0]}"
    tests = [_test_images(run.training.predictions, role) for run in (first, other)]
    if not tests[0].equals(tests[1]):
        return f"its predictions are of other {role} images than those of {first.letter}"
    return None


def _test_images(predictions: pd.DataFrame, role: str) -> pd.DataFrame:
    of_role = predictions[predictions["role"] == role]
    return of_role[["row", "galaxy", "label"]].sort_values("row", ignore_index=True)


def _paired(first: ComparedRun, others: Sequence[ComparedRun], role: str) -> list[PairedDifference]:
    if not others:
        return []
    # Pairs of trainings with different seeds are compared like any other: every run counts as a method of one seed.
    predictions = {run.letter: run.training.predictions.assign(seed=0) for run in (first, *others)}
    table = evaluation.compare(predictions, first.letter, role=role)
    return [
        PairedDifference(*(float(row[name]) for name in ("difference", "low", "high", "p", "p_holm")))
        for row in table.to_dict("records")
    ]


def _differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values that differ, by their keys; None where one of them has no such key."""
    keys = dict.fromkeys(key for values in settings for key in values)
    found = {key: [values.get(key) for values in settings] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return all that the comparison shows as plain dictionaries; undefined numbers are None."""
    entries = []
    for run in comparison.runs:
        galaxies, renderings = run.sizes
        entry: dict[str, Any] = {
            "letter": run.letter,
            "name": run.name,
            "folder": run.folder,
            "training": run.training.record.training,
            "run_id": run.training.record.run_id,
            "data": run.training.trained.provenance.kind,
            "galaxies": galaxies,
            "renderings": renderings,
            "parameters": presentation.parameters(run.spec),
            "choice": {name.replace(" ", "_"): value for name, value in run.choice.items()},
            "scores": {name.replace(" ", "/"): score for name, score in run.scores.items()},
            "validators": run.validators,
        }
        if run.letter in comparison.differences:
            found = comparison.differences[run.letter]
            entry["differences"] = {role: difference._asdict() for role, difference in found.items()}
            entry["no_difference"] = dict(comparison.reasons[run.letter])
        entries.append(entry)
    differing = {"parameters": comparison.parameters, "settings": comparison.settings}
    plain: dict[str, Any] = _finite({"runs": entries, "differing": differing})
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
