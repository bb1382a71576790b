"""Access to prepared images, which reads only the requested rows, and target images without their labels."""

from __future__ import annotations

from collections.abc import Iterator
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
from mergershift.core.errors import UserError, first_line
from mergershift.core.reading import Columns, damaged, read_csv, read_json
from mergershift.images.split import first_renderings, split_of

_COLUMNS: Columns = dict.fromkeys(("row", "galaxy", "camera", "block"), int) | {"split": str, "trains": str}
_PREPARE_AGAIN = "Run `mergershift prepare` again with the same filters and split, or `mergershift repro`."


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
        """Filters, numbers of galaxies, provenance, split and data hash; raises UserError if they are damaged."""
        path = self.folder / "prepared.json"
        facts = read_json(path, dict[str, Any], _PREPARE_AGAIN)
        for name in ("data_hash", "provenance", "split"):
            if not isinstance(facts.get(name), str if name == "data_hash" else dict):
                raise damaged(path, f"{name}: missing or of another type", _PREPARE_AGAIN)
        return facts

    @property
    def statistics_file(self) -> Path:
        """Path of the JSON file with mean and standard deviation per filter and domain."""
        return self.folder / "statistics.json"

    @cached_property
    def table(self) -> pd.DataFrame:
        """Table with one line per row of the archive: row, galaxy, camera, block, split, trains."""
        return read_csv(self.folder / "rows.csv", _COLUMNS, _PREPARE_AGAIN)

    def rows(
        self, split: str, *, domain: Domain | None = None, trains: str | None = None, unique: bool = False
    ) -> NDArray[np.int64]:
        """Return the row numbers of a split.

        Args:
            split: "train", "validation" or "test".
            domain: whose images; matters only where each domain has a split of its own (`independent_domains`).
            trains: "source" or "target" to keep only rows that this domain may train on.
            unique: keep only the first row of each rendering.
        """
        chosen = self.table[split_of(self.table, domain) == split]
        if trains is not None:
            chosen = chosen[chosen["trains"].isin(["both", trains])]
        if unique:
            chosen = chosen[first_renderings(chosen)]
        return chosen["row"].to_numpy()

    def images(self, domain: Domain, rows: NDArray[np.int64]) -> Tensor:
        """Read the images `(N, C, H, W)` of `rows`, float32 in µJy/arcsec²; no other row is read."""
        return torch.from_numpy(self._stored(f"{domain}-images.npy")[rows])

    def all_images(self, domain: Domain) -> Iterator[Tensor]:
        """Yield all images of a domain, whatever their split, in blocks `(B, C, H, W)`."""
        stored = self._stored(f"{domain}-images.npy")
        for start in range(0, len(stored), 256):
            yield torch.from_numpy(stored[start : start + 256].copy())

    def labelled(self, domain: Domain, rows: NDArray[np.int64]) -> LabelledImages:
        """Read the images and labels of `rows`."""
        return LabelledImages(self.images(domain, rows), torch.from_numpy(self.labels(domain, rows)))

    def labels(self, domain: Domain, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Read the labels `(N,)` of `rows`."""
        return self._stored(f"{domain}-labels.npy")[rows].astype(np.int64)

    def _stored(self, name: str) -> NDArray[Any]:
        try:
            stored: NDArray[Any] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise damaged(
                self.folder / name, f"not an array ({first_line(error)})", _PREPARE_AGAIN
            ) from error
        if stored.ndim == 0 or len(stored) != len(self.table):
            fault = f"shape {stored.shape}, expected {len(self.table)} rows as in rows.csv"
            raise damaged(self.folder / name, fault, _PREPARE_AGAIN)
        return stored
