"""Images of noise in the form of prepared ones, as many as a benchmark needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mergershift.archive import IMAGE_SIZE, Domain


def write_random(folder: Path, channels: int, train: int, others: int = 16) -> None:
    """Write `train` training images and `others` validation and test images of each domain as `prepare` would."""
    folder.mkdir(parents=True)
    rows = train + 2 * others
    split = np.repeat(["train", "validation", "test"], [train, others, others])
    table = {"row": np.arange(rows), "galaxy": np.arange(rows), "camera": 0, "block": 0, "split": split}
    pd.DataFrame(table).assign(trains=np.where(split == "train", "both", "")).to_csv(
        folder / "rows.csv", index=False
    )
    random = np.random.default_rng(0)
    labels = (np.arange(rows) % 2).astype(np.int8)
    for domain in Domain:
        images = random.lognormal(size=(rows, channels, IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32)
        np.save(folder / f"{domain}-images.npy", images)
        np.save(folder / f"{domain}-labels.npy", labels)
    facts = {"data_hash": "0" * 64, "provenance": {"kind": "unknown"}, "split": {}}
    (folder / "prepared.json").write_text(json.dumps(facts))
    (folder / "statistics.json").write_text("{}")
