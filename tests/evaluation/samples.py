"""A small table of test predictions with the archive's row structure."""

import numpy as np
import pandas as pd

from mergershift.archive import RowStructure
from mergershift.evaluation import join

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
