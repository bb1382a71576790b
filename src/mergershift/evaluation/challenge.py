"""Label-free comparison of a candidate with a champion, by a validator on the same validation images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.core.errors import UserError
from mergershift.evaluation.evidence import Evidence
from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.resampling import RESAMPLES, Interval, draws, percentile_interval
from mergershift.evaluation.validators import NEEDS_FEATURES, VALIDATORS

COLUMNS = ("role", "row", "galaxy", "camera", "label", "log_odds")
"""Columns of a table of validation images with one row per rendering; `label` is NaN for the target, and `log_odds`
are those of a merger according to the network."""
TRAINING_SHARE = "training_share"
"""Further column of models whose training did not weigh the classes equally: the share that mergers had in it."""


class Challenge(NamedTuple):
    """The result of the comparison of a candidate with a champion."""

    validator: str
    candidate: float
    champion: float
    """Their scores; higher is better."""
    difference: Interval
    """Score of the candidate minus score of the champion."""
    images: int
    """Number of images of each domain."""
    galaxies: int
    resamples: int


def challenge(
    candidate: pd.DataFrame,
    champion: pd.DataFrame,
    validator: str,
    resamples: int = RESAMPLES,
    rng_seed: int = 0,
) -> Challenge:
    """Compute the difference between a validator's scores of two models, paired by image, with its 95 % interval.

    For the interval, galaxies are drawn with replacement, with all their renderings in both domains and the same
    draws for both models. Unlike in `bootstrap`, they are not drawn within classes, because those of the target are
    unknown. The interval measures how much the choice depends on the sample of galaxies; it does not include the
    variation between trainings with different seeds.

    Args:
        candidate: table of validation images with `COLUMNS`.
        champion: table of the same images.
        validator: name in `VALIDATORS` of a validator that needs predictions alone.
        resamples: number of bootstrap replicates.
        rng_seed: seed of the resampling.

    Raises UserError if the validator needs features or if the two tables do not contain the same images.
    """
    if validator in NEEDS_FEATURES:
        known = ", ".join(name for name in VALIDATORS if name not in NEEDS_FEATURES)
        raise UserError(
            f"selection.best_by is {validator}, which needs the network's features, but registered models do not "
            "contain them.\n"
            f"Choose another validator for selection.best_by: {known}."
        )
    models = [_sorted(table, name) for table, name in ((candidate, "candidate"), (champion, "champion"))]
    images = models[0].drop(columns="log_odds")
    if not images.equals(models[1].drop(columns="log_odds")):
        raise UserError(
            "The two models were validated on different images, expected the same data and split.\n"
            "Register a model that was trained on the data and split of the champion."
        )
    _, members = np.unique(images["galaxy"], return_inverse=True)
    galaxies = int(members.max()) + 1
    by_role = [np.flatnonzero(images["role"] == role) for role in ("source", "target")]
    labels = images["label"].to_numpy(dtype=np.float64)
    logits = [np.stack([np.zeros(len(model)), model["log_odds"]], axis=1) for model in models]
    score = VALIDATORS[validator]
    # Those of all images rather than of the drawn ones, which contain the same galaxies in both domains.
    of_labelled = labels[by_role[0]].astype(np.int64)
    shares = np.bincount(of_labelled, minlength=2) / len(of_labelled)
    class_shares = shares if shares.all() else None
    training_shares = [_training_shares(table) for table in (candidate, champion)]

    def scores(weights: NDArray[np.int64]) -> tuple[float, float]:
        source, target = (np.repeat(places, weights[members[places]]) for places in by_role)
        of_source = labels[source].astype(np.int64)
        of_candidate, of_champion = (
            score(
                Evidence(
                    *(model[source], model[source], of_source, model[target], model[target]),
                    class_shares=class_shares,
                    training_shares=training,
                )
            )
            for model, training in zip(logits, training_shares, strict=True)
        )
        return of_candidate, of_champion

    ours, theirs = scores(np.ones(galaxies, dtype=np.int64))
    replicates: list[float] = []
    for weights in draws(np.zeros(galaxies, dtype=np.int64), len(images), resamples, rng_seed):
        drawn = [scores(replicate.astype(np.int64)) for replicate in weights]
        replicates += [of_candidate - of_champion for of_candidate, of_champion in drawn]
    interval = percentile_interval(ours - theirs, np.array(replicates))
    return Challenge(validator, ours, theirs, interval, len(by_role[1]), galaxies, resamples)


def _training_shares(table: pd.DataFrame) -> Floats | None:
    if TRAINING_SHARE not in table:
        return None
    share = float(table[TRAINING_SHARE].iloc[0])
    return np.array([1 - share, share])


def _sorted(table: pd.DataFrame, name: str) -> pd.DataFrame:
    missing = [column for column in COLUMNS if column not in table]
    if missing or set(table["role"]) != {"source", "target"}:
        raise UserError(
            f"The {name}'s table of validation images lacks {', '.join(missing) or 'images of one domain'}.\n"
            "Register the model again with `mergershift register`."
        )
    return table[list(COLUMNS)].sort_values(["role", "row"], ignore_index=True)
