"""The decisions of several methods on the same test images, counted by galaxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.core.errors import UserError, nearest
from mergershift.evaluation.metrics import Floats
from mergershift.evaluation.predictions import unique_renderings
from mergershift.evaluation.resampling import galaxy_members

NEEDED = ("seed", "role", "domain", "row", "galaxy", "camera", "label", "prediction")
"""Columns that a table of predictions needs for a comparison."""


@dataclass(frozen=True)
class Decisions:
    """Numbers of correct decisions of M methods, each trained with S seeds, about G galaxies."""

    methods: list[str]
    seeds: NDArray[np.int64]
    galaxies: NDArray[np.int64]
    classes: NDArray[np.int64]
    images: Floats
    """Number of renderings `(G,)` of each galaxy."""
    correct: Floats
    """Number of renderings `(M, S, G)` that each method and seed classified correctly."""

    def balanced_accuracy(self, weights: Floats) -> Floats:
        """Return the balanced accuracy `(R, M, S)` under R weightings `(R, G)` of the galaxies."""
        methods, seeds, _ = self.correct.shape
        shares = []
        for label in (0, 1):
            of_class = self.classes == label
            right = weights[:, of_class] @ self.correct[:, :, of_class].reshape(methods * seeds, -1).T
            shares.append(right / (weights[:, of_class] @ self.images[of_class])[:, None])
        return np.mean(shares, axis=0).reshape(-1, methods, seeds)

    def mean_over_seeds(self) -> Floats:
        """Return the balanced accuracy `(M,)` of each method, with the same weight for all galaxies and seeds."""
        everything = np.ones((1, len(self.galaxies)))
        return self.balanced_accuracy(everything)[0].mean(axis=1)


def read_decisions(methods: Mapping[str, pd.DataFrame], baseline: str, role: str) -> Decisions:
    """Count the correct decisions of each method, seed and galaxy in the test of `role`, with every rendering once.

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
    correct = []
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
        correct.append(right.reshape(len(seeds), -1))
    labels = same["label"].to_numpy().astype(bool)
    if labels.all() or not labels.any():
        raise UserError(
            f"{baseline}: the {role}'s test has one class only, expected mergers and non-mergers.\n"
            "Evaluate the training again."
        )
    members, classes = galaxy_members(labels, same["galaxy"])
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], np.arange(len(classes)))
    by_galaxy = np.add.reduceat(np.stack(correct)[:, :, order], starts, axis=2)
    images = np.bincount(members).astype(np.float64)
    return Decisions(list(tables), seeds, np.unique(same["galaxy"]), classes, images, by_galaxy)


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
