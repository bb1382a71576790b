"""Access to prepared images, which reads only the requested rows, and target images without their labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.archive import Domain
from mergershift.core.errors import UserError
from mergershift.images.split import first_renderings


class LabelledImages(NamedTuple):
    """Images `(N, C, H, W)` float32 in µJy/arcsec² and labels `(N,)` int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Prepared:
    """The prepared images that `prepare` wrote to a folder; raises UserError if the folder contains none."""

    folder: Path

    def __post_init__(self) -> None:
        if not (self.folder / "prepared.json").is_file():
            raise UserError(
                f"{self.folder}: no prepared images (prepared.json is missing).\n"
                "First run `mergershift prepare` with the same filters, or the pipeline with `mergershift repro`."
            )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Filters, numbers of galaxies, provenance, split and data hash; raises UserError if they are not JSON."""
        path = self.folder / "prepared.json"
        try:
            facts: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}).\nRun `mergershift prepare` again.") from error
        return facts

    @property
    def statistics_file(self) -> Path:
        """Path of the JSON file with mean and standard deviation per filter and domain."""
        return self.folder / "statistics.json"

    @cached_property
    def table(self) -> pd.DataFrame:
        """Table with one line per row of the archive: row, galaxy, camera, block, split, trains."""
        return pd.read_csv(self.folder / "rows.csv", keep_default_na=False)

    def rows(self, split: str, *, trains: str | None = None, unique: bool = False) -> NDArray[np.int64]:
        """Return the row numbers of a split.

        Args:
            split: "train", "validation" or "test".
            trains: "source" or "target" to keep only rows that this domain may train on.
            unique: keep only the first row of each rendering.
        """
        chosen = self.table[self.table["split"] == split]
        if trains is not None:
            chosen = chosen[chosen["trains"].isin(["both", trains])]
        if unique:
            chosen = chosen[first_renderings(chosen)]
        return chosen["row"].to_numpy()

    def images(self, domain: Domain, rows: NDArray[np.int64]) -> Tensor:
        """Read the images `(N, C, H, W)` of `rows`, float32 in µJy/arcsec²; no other row is read."""
        stored = np.load(self.folder / f"{domain}-images.npy", mmap_mode="r", allow_pickle=False)
        return torch.from_numpy(stored[rows])

    def labelled(self, domain: Domain, rows: NDArray[np.int64]) -> LabelledImages:
        """Read the images and labels of `rows`."""
        labels = np.load(self.folder / f"{domain}-labels.npy", allow_pickle=False)[rows]
        return LabelledImages(self.images(domain, rows), torch.from_numpy(labels.astype(np.int64)))
