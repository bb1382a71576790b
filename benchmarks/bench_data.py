"""Prepared images, as many as a benchmark needs: of noise, or of a mock archive."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mergershift.archive import IMAGE_SIZE, Domain
from mergershift.archive.mock import write_archive
from mergershift.config import SplitConfig
from mergershift.images import prepare


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


def prepare_mock(
    folder: Path,
    filters: str,
    split: SplitConfig,
    *,
    seed: int,
    mergers: int,
    non_mergers: int,
    workers: int | None = None,
    progress: bool = False,
) -> None:
    """Prepare the images of a mock archive in `folder`; the archive itself is made beside it, and deleted."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive = Path(temporary)
        write_archive(
            archive,
            mergers=mergers,
            non_mergers=non_mergers,
            seed=seed,
            filter_sets=[filters],
            workers=workers,
            progress=progress,
        )
        prepare(archive, filters, split, folder)
