"""A candidate beside a champion, by a validator that sees no label of the target, on the same validation images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.core.errors import UserError
from mergershift.evaluation.resampling import RESAMPLES, Interval, draws, percentile_interval
from mergershift.evaluation.validators import NEEDS_TRAINING_FEATURES, VALIDATORS, Evidence

COLUMNS = ("role", "row", "galaxy", "camera", "label", "log_odds")
"""Of a table of validation images, each rendering once: `label` is empty for the target, `log_odds` are what the
network gives for a merger."""


class Challenge(NamedTuple):
    """How a candidate stands beside a champion."""

    validator: str
    difference: Interval
    """Candidate minus champion."""
    galaxies: int
    resamples: int


def challenge(
    candidate: pd.DataFrame,
    champion: pd.DataFrame,
    validator: str,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
) -> Challenge:
    """Compute the difference of a validator between two models, paired by image, with its 95 % interval.

    The interval draws galaxies with replacement, all their renderings in both domains together and the same ones
    for both models (as `bootstrap` does, but not within classes: the target's are not known). It says how far the
    choice depends on the galaxies at hand; what another seed would have trained is not in it.

    Args:
        candidate: validation images with `COLUMNS`.
        champion: of the same images.
        validator: name in `VALIDATORS` of one that needs predictions alone.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling.

    Raises UserError for a validator that needs features, and where the two tables do not show the same images.
    """
    if validator == NEEDS_TRAINING_FEATURES:
        known = ", ".join(name for name in VALIDATORS if name != NEEDS_TRAINING_FEATURES)
        raise UserError(
            f"{validator} weighs images by the network's features, which registered models do not carry.\n"
            f"Compare by another one, selection.best_by=...: {known}."
        )
    models = [_sorted(table, name) for table, name in ((candidate, "candidate"), (champion, "champion"))]
    images = models[0].drop(columns="log_odds")
    if not images.equals(models[1].drop(columns="log_odds")):
        raise UserError(
            "The two models were validated on different images.\n"
            "Expected the same data and split: register a model that was trained on the champion's."
        )
    _, members = np.unique(images["galaxy"], return_inverse=True)
    galaxies = int(members.max()) + 1
    by_role = [np.flatnonzero(images["role"] == role) for role in ("source", "target")]
    labels = images["label"].to_numpy(dtype=np.float64)
    logits = [np.stack([np.zeros(len(each)), each["log_odds"]], axis=1) for each in models]
    score = VALIDATORS[validator]

    def difference(weights: NDArray[np.int64]) -> float:
        source, target = (np.repeat(places, weights[members[places]]) for places in by_role)
        of_source = labels[source].astype(np.int64)
        ours, theirs = (
            score(Evidence(each[source], each[source], of_source, each[target], each[target]))
            for each in logits
        )
        return ours - theirs

    value = difference(np.ones(galaxies, dtype=np.int64))
    replicates: list[float] = []
    for weights, _ in draws(np.zeros(galaxies, dtype=np.int64), 1, len(images), resamples, rng_seed):
        replicates += [difference(each.astype(np.int64)) for each in weights]
    return Challenge(validator, percentile_interval(value, np.array(replicates)), galaxies, resamples)


def _sorted(table: pd.DataFrame, name: str) -> pd.DataFrame:
    missing = [column for column in COLUMNS if column not in table]
    if missing or set(table["role"]) != {"source", "target"}:
        raise UserError(
            f"The {name}'s validation images have no {', '.join(missing) or 'images of one of the domains'}.\n"
            "Register the model again with `mergershift register`."
        )
    return table[list(COLUMNS)].sort_values(["role", "row"], ignore_index=True)
