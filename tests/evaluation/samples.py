"""A small table of test predictions with the archive's row structure, and what validators know of a candidate."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from mergershift.archive import RowStructure
from mergershift.evaluation import Evidence, join

STRUCTURE = RowStructure(mergers=6, non_mergers=10)


def part(role: str, domain: str, seed: int = 0, signal: float = 0.4) -> pd.DataFrame:
    rng = np.random.default_rng([seed, role == "target"])
    labels = STRUCTURE.labels
    return pd.DataFrame(
        {
            "row": np.arange(STRUCTURE.rows),
            "galaxy": STRUCTURE.galaxy,
            "camera": STRUCTURE.camera,
            "block": STRUCTURE.block,
            "role": role,
            "domain": domain,
            "label": labels,
            "probability": (1 - signal) * rng.random(len(labels)) + signal * labels,
            "threshold": 0.5,
        }
    )


def predictions(seed: int = 0) -> pd.DataFrame:
    return join([part("source", "pristine", seed), part("target", "noisy", seed, signal=0.1)])


def evidence(seed: int = 0, images: int = 60, classes: int = 2, width: int = 4, **given: Any) -> Evidence:
    """A candidate better than chance, evaluated on twice as many images of class 0 as of any other class."""
    rng = np.random.default_rng(seed)
    labels = np.maximum(np.arange(images) % (classes + 1) - 1, 0)
    logits = rng.normal(size=(2, images, classes)) + 1.5 * np.eye(classes)[labels]
    made = Evidence(
        source_train_features=rng.normal(size=(80, width)),
        target_train_features=rng.normal(0.5, 1, size=(70, width)),
        source_features=rng.normal(size=(images, width)),
        source_logits=logits[0],
        source_labels=labels,
        target_features=rng.normal(0.5, 1, size=(images, width)),
        target_logits=logits[1],
    )
    return replace(made, **given)
