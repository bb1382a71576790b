"""The scores of several methods on the same test images, with what each galaxy contributes to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.core.errors import UserError, nearest
from mergershift.evaluation.estimates import Estimate, area_under_curve, class_shares
from mergershift.evaluation.predictions import unique_renderings
from mergershift.evaluation.resampling import galaxy_members

NEEDED = ("seed", "role", "domain", "row", "galaxy", "camera", "label", "probability", "prediction")
"""Columns that a table of predictions needs for a comparison."""


@dataclass(frozen=True)
class Paired:
    """Scores of several methods on the same images of G galaxies, each trained with the same S seeds."""

    accuracy: dict[str, Estimate]
    """Balanced accuracy by the method's name."""
    area: dict[str, Estimate]
    """Area under the ROC curve by the method's name."""
    seeds: NDArray[np.int64]
    galaxies: NDArray[np.int64]
    classes: NDArray[np.int64]
    """Class of each galaxy `(G,)`."""
    images: int


def read_paired(methods: Mapping[str, pd.DataFrame], baseline: str, role: str) -> Paired:
    """Score each method in the test of `role`, with every rendering once.

    Raises UserError if the baseline is unknown, if a table lacks a needed column, the role or a class, if methods or
    seeds were not tested on the same images, or if methods do not have the same seeds.
    """
    if baseline not in methods:
        raise UserError(
            f"baseline is '{baseline}', which is not one of the methods.\n"
            f"Did you mean {nearest(baseline, methods)}?"
        )
    tables = {name: _of_role(name, table, role) for name, table in methods.items()}
    seeds = np.unique(tables[baseline]["seed"])
    same = tables[baseline][tables[baseline]["seed"] == seeds[0]]
    decided, chances = {}, {}
    for name, table in tables.items():
        own = np.unique(table["seed"])
        if not np.array_equal(own, seeds):
            raise UserError(
                f"{name} was trained with seeds {own.tolist()}, {baseline} with {seeds.tolist()}; expected the same.\n"
                "Train or evaluate the missing seeds."
            )
        for seed, group in table.groupby("seed"):
            for column in ("row", "galaxy", "domain", "label"):
                if not np.array_equal(group[column], same[column]):
                    raise UserError(
                        f"{name}, seed {seed}, and {baseline}, seed {seeds[0]}: the {role}'s tests differ in "
                        f"{column}, expected the same test images.\nUse the same split for every method and seed."
                    )
        right = (table["prediction"] == table["label"]).to_numpy(dtype=np.float64)
        decided[name] = right.reshape(len(seeds), -1)
        chances[name] = table["probability"].to_numpy(dtype=np.float64).reshape(len(seeds), -1)
    labels = same["label"].to_numpy().astype(bool)
    if labels.all() or not labels.any():
        raise UserError(
            f"{baseline}: the {role}'s test has one class only, expected mergers and non-mergers.\n"
            "Evaluate the training again."
        )
    members, classes = galaxy_members(labels, same["galaxy"])
    images = np.bincount(members).astype(np.float64)
    accuracy = {
        name: class_shares(
            np.stack([np.bincount(members, own, len(classes)) for own in right]), images, classes, (0.5, 0.5)
        )
        for name, right in decided.items()
    }
    area = {name: area_under_curve(chance, labels, members, classes) for name, chance in chances.items()}
    return Paired(accuracy, area, seeds, np.unique(same["galaxy"]), classes, len(members))


def _of_role(name: str, table: pd.DataFrame, role: str) -> pd.DataFrame:
    missing = [column for column in NEEDED if column not in table]
    if missing:
        raise UserError(
            f"{name}: no column {', '.join(missing)}, expected {', '.join(NEEDED)}.\n"
            "Evaluate the training again."
        )
    for column in ("label", "prediction"):
        if not table[column].isin((0, 1)).all():
            raise UserError(
                f"{name}: {column} is neither 0 nor 1 in some rows.\nEvaluate the training again."
            )
    part = unique_renderings(table[table["role"] == role].reset_index(drop=True))
    if part.empty:
        raise UserError(f"{name}: no predictions of the {role}'s test.\nEvaluate the training again.")
    return part.sort_values(["seed", "row"])
