"""A few simple prepared images whose pixel values identify their row and domain."""

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
"""Numbers of galaxies, all seen by a single camera: the mergers, rotated copies of them, then the non-mergers."""
LABELS = np.repeat([1, 1, 0], [MERGERS, MERGERS, OTHERS])
NOISY = 100
"""Difference between the pixel values of a noisy image and the pristine one of the same row."""


def write_prepared(folder: Path, *, disjoint: bool = False) -> Prepared:
    """Write 28 images per domain as `prepare` would, with a third of the rows reserved for validation and test.

    Without `disjoint`, both domains train on all training galaxies; with it, each domain trains on half of them.
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
    # No symmetry of the square leaves this pattern unchanged, and its smallest value is 0.
    pattern = np.arange(SIDE**2, dtype=np.float32).reshape(SIDE, SIDE) / 1000
    for domain, offset in ((Domain.PRISTINE, 0), (Domain.NOISY, NOISY)):
        numbers = (offset + np.arange(rows, dtype=np.float32))[:, None, None, None]
        np.save(folder / f"{domain}-images.npy", np.repeat(numbers + pattern, CHANNELS, axis=1))
        np.save(folder / f"{domain}-labels.npy", LABELS.astype(np.int8))
    (folder / "prepared.json").write_text(json.dumps({"data_hash": "0" * 64}))
    return Prepared(folder)


def undivided(prepared: Prepared) -> Prepared:
    """Give the validation images of a class one galaxy, seen by several cameras, which belongs to both halves."""
    path = prepared.folder / "rows.csv"
    table = pd.read_csv(path)
    changed, galaxies = table["split"] == "validation", table["galaxy"]
    lowest = galaxies[changed].groupby(LABELS[changed]).min()
    table = table.assign(
        camera=table["camera"].where(~changed, galaxies),
        galaxy=galaxies.where(~changed, pd.Series(LABELS).map(lowest)),
    )
    table.to_csv(path, index=False)
    return Prepared(prepared.folder)


def relabel(prepared: Prepared, domain: Domain, rows: np.ndarray) -> None:
    """Label the mergers among `rows` as non-mergers, and the non-mergers as mergers."""
    path = prepared.folder / f"{domain}-labels.npy"
    labels = np.load(path)
    labels[rows] = 1 - labels[rows]
    np.save(path, labels)


def numbers(images: Tensor) -> list[int]:
    """Return the row of each image `(N, C, 8, 8)`, plus `NOISY` for noisy images; rotated images are recognised."""
    return torch.round(images.amin((1, 2, 3))).long().tolist()
