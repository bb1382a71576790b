"""Prepared images so few and so plain that each says by itself which row of which domain it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mergershift.archive import Domain
from mergershift.images import Prepared

SIDE, CHANNELS = 8, 2
MERGERS, OTHERS = 8, 12
"""Galaxies, each seen by one camera: first the mergers, then the same mergers turned, then the others once."""
LABELS = np.repeat([1, 1, 0], [MERGERS, MERGERS, OTHERS])
NOISY = 100
"""What the noisy domain's images have beyond the pristine ones of the same row."""


def write_prepared(folder: Path, *, disjoint: bool = False) -> Prepared:
    """Write 28 images of both domains as `prepare` would, a third of the rows held back from training.

    Without `disjoint`, both domains train on all training galaxies, with it each on half of them.
    """
    folder.mkdir(parents=True)
    rows = len(LABELS)
    galaxy = np.concatenate([np.arange(MERGERS), np.arange(MERGERS + OTHERS)])
    split = np.array(
        ["train"] * 4 + ["validation"] * 2 + ["test"] * 2 + ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    )[galaxy]
    half = np.isin(galaxy, [0, 1, 8, 9, 10])
    trains = np.where(half, "source", "target") if disjoint else np.full(rows, "both")
    table = pd.DataFrame(
        {
            "row": np.arange(rows),
            "galaxy": galaxy,
            "camera": 0,
            "block": np.repeat([0, 1, 0], [MERGERS, MERGERS, OTHERS]),
            "split": split,
            "trains": np.where(split == "train", trains, ""),
        }
    )
    table.to_csv(folder / "rows.csv", index=False)
    # no symmetry of the square leaves this as it is, and its least value is 0
    pattern = np.arange(SIDE**2, dtype=np.float32).reshape(SIDE, SIDE) / 1000
    for domain, offset in ((Domain.PRISTINE, 0), (Domain.NOISY, NOISY)):
        numbers = (offset + np.arange(rows, dtype=np.float32))[:, None, None, None]
        np.save(folder / f"{domain}-images.npy", np.repeat(numbers + pattern, CHANNELS, axis=1))
        np.save(folder / f"{domain}-labels.npy", LABELS.astype(np.int8))
    (folder / "prepared.json").write_text(json.dumps({"data_hash": "0" * 64}))
    return Prepared(folder)


def relabel(prepared: Prepared, domain: Domain, rows: np.ndarray) -> None:
    """Call the mergers among `rows` non-mergers, and the others mergers."""
    path = prepared.folder / f"{domain}-labels.npy"
    labels = np.load(path)
    labels[rows] = 1 - labels[rows]
    np.save(path, labels)


def numbers(images: Tensor) -> list[int]:
    """The row of each image `(N, C, 8, 8)`, and `NOISY` more where it is a noisy one; turned images too."""
    return torch.round(images.amin((1, 2, 3))).long().tolist()
