"""Conversion of the archive's float64 files to float32 images with galaxy ids, a split and statistics.

Files are read in blocks, so that no file is in memory as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import (
    DATA_SETS,
    FILTER_SETS,
    GALAXIES_REMEDY,
    Domain,
    Images,
    Origin,
    Rows,
    channel_order,
    limits,
    open_images,
    read_labels,
    read_provenance,
    read_rows,
    same_galaxies,
    sample_of,
)
from mergershift.config import SplitConfig
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory
from mergershift.images.near_duplicates import near_duplicates
from mergershift.images.split import first_renderings, row_table, split_of

BLOCK_BYTES = 16 * 2**20
Progress = Callable[[int, int], None]
"""Callback that receives the number of rows done and the total number of rows."""


def prepare(
    folder: Path, filters: str, rule: SplitConfig, output: Path, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Prepare the images of one filter set of the archive in `folder` and write them to `output`.

    For each domain, `output` contains ``<domain>-images.npy`` `(N, C, 75, 75)` float32 in µJy/arcsec² and
    ``<domain>-labels.npy`` `(N,)` int8. It also contains ``rows.csv``, see `row_table`; ``statistics.json`` with the
    mean and standard deviation per filter and domain, over the renderings that the labelled domain may train on; and
    ``prepared.json`` with the provenance, a hash, how channels and rows were identified, and what is uncertain about
    that. Galaxies whose pristine images overlap are in the same part of the split if `rule` says so, and are listed
    in prepared.json. Where the rows are not in the published order, the hash covers their galaxies and split. `output`
    is written completely or not at all. Returns the contents of prepared.json; raises UserError if the files of the
    archive are not valid or do not match.
    """
    sets = [DATA_SETS[filters, domain] for domain in Domain]
    labels = {data_set.domain: read_labels(folder, data_set) for data_set in sets}
    for data_set in sets:
        if not np.array_equal(labels[data_set.domain], labels[Domain.PRISTINE]):
            raise UserError(
                f"{folder}: labels differ from those of the pristine images ({data_set}), expected the same galaxies "
                "in both domains.\n"
                "Run `mergershift data verify`, then fetch or generate the archive again."
            )
    rows = read_rows(folder, sets[0])
    images = {data_set.domain: open_images(folder, data_set) for data_set in sets}
    for domain in Domain:
        _require_rows(images[domain], rows.rows)
    pairs = near_duplicates(images[Domain.PRISTINE], rows) if rule.near_duplicates == "together" else []
    try:
        table = row_table(rows, rule, [pair.galaxies for pair in pairs])
    except ValueError as error:
        raise UserError(f"{folder}: {error}.\nRun `mergershift data verify`.") from error
    orders = {data_set.domain: channel_order(folder, data_set) for data_set in sets}
    warnings = [order.warning for order in orders.values() if order.warning]
    if uncertain := _whether_same_galaxies(images):
        warnings.append(uncertain)
    if uncertain := limits(rows):
        warnings.append(f"{folder}: {uncertain}.\n{GALAXIES_REMEDY}")

    with atomic_directory(output) as partial:
        source_rows = table["trains"].isin(["both", "source"]) & first_renderings(table)
        total = rows.rows * len(sets)
        hashes, statistics = {}, {}
        for number, data_set in enumerate(sets):
            domain, before = data_set.domain, number * rows.rows
            hashes[str(domain)], statistics[str(domain)] = _convert(
                images[domain],
                (source_rows & (split_of(table, domain) == "train")).to_numpy(),
                partial / f"{domain}-images.npy",
                lambda done, before=before: progress(before + done, total),  # type: ignore[misc]
            )
            np.save(partial / f"{domain}-labels.npy", labels[domain].astype(np.int8))
        table.to_csv(partial / "rows.csv", index=False)
        label_hash = hashlib.sha256(labels[Domain.PRISTINE].astype(np.int8).tobytes()).hexdigest()
        parts = [*hashes.values(), label_hash, *_hash_of_rows(rows, table)]
        whole = hashlib.sha256("".join(parts).encode()).hexdigest()
        facts = {
            "filter_set": filters,
            "filters": list(FILTER_SETS[filters].filter_names),
            "rows": rows.rows,
            "galaxies": {"mergers": rows.mergers, "non-mergers": rows.non_mergers},
            "provenance": origin(folder),
            "reading": {
                **{f"channels.{domain}": str(order) for domain, order in orders.items()},
                "galaxies": rows.found_by,
            },
            "near_duplicates": [list(pair.galaxies) for pair in pairs],
            "warnings": warnings,
            "split": rule.model_dump(mode="json"),
            "data_hash": whole,
        }
        (partial / "prepared.json").write_text(json.dumps(facts, indent=2) + "\n")
        (partial / "statistics.json").write_text(json.dumps(statistics, indent=2) + "\n")
    return facts


def _require_rows(images: Images, rows: int) -> None:
    if len(images) != rows:
        raise UserError(
            f"{images.path}: {len(images)} images, expected {rows}, one per label.\n"
            "Run `mergershift data verify`."
        )


def _whether_same_galaxies(images: Mapping[Domain, Images]) -> str:
    """Return a warning if nothing shows whether a row has one galaxy in both domains, or ""; raises if it has two."""
    noisy = images[Domain.NOISY].path
    same = same_galaxies(*(sample_of(images[domain]) for domain in Domain))
    if same is False:
        raise UserError(
            f"{noisy}: its rows show other galaxies than those of {images[Domain.PRISTINE].path.name}; expected the "
            "same galaxy in the same row of both, or training and test have galaxies in common.\n"
            "Run `mergershift data verify`, then fetch or generate the archive again."
        )
    if same is None:
        return (
            f"{noisy}: too few images that are not constant to compare its galaxies with the pristine ones, so that "
            "training and test can have galaxies in common.\n"
            "Run `mergershift data verify`, then fetch or generate the archive again."
        )
    return ""


def _hash_of_rows(rows: Rows, table: pd.DataFrame) -> list[str]:
    """Hash what pixels and labels do not determine: the galaxies in an unknown order of rows, and thus the split."""
    if rows.found_by == "published order":
        return []
    columns = table[["galaxy", "camera", "split", "trains"]]
    return [hashlib.sha256(columns.to_csv(index=False, lineterminator="\n").encode()).hexdigest()]


def origin(folder: Path) -> dict[str, Any]:
    """Return the origin of the archive in `folder` as plain JSON.

    The origin does not depend on the list of files, so that fetching more files does not appear as a change.
    """
    provenance = read_provenance(folder)
    known = Origin(kind="unknown") if provenance is None else provenance.origin
    return known.model_dump(mode="json", exclude_none=True)


def _convert(
    images: Images,
    source_rows: NDArray[np.bool_],
    path: Path,
    progress: Callable[[int], None],
) -> tuple[str, dict[str, list[float]]]:
    """Write images to `path` as float32; return their SHA-256 and the statistics of `source_rows`."""
    shape = images.shape
    step = max(1, BLOCK_BYTES // (8 * int(np.prod(shape[1:]))))
    digest = hashlib.sha256()
    total, squares, pixels = np.zeros(shape[1]), np.zeros(shape[1]), 0
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], step):
            block = images[start : start + step]
            if not np.isfinite(block).all():
                row = start + int(np.flatnonzero(~np.isfinite(block).all(axis=(1, 2, 3)))[0])
                raise UserError(
                    f"{images.path}: row {row} has NaN or infinite pixels.\n"
                    "Run `mergershift data verify`, then fetch or generate the archive again."
                )
            single = np.ascontiguousarray(block, dtype="<f4")
            file.write(single.data)
            digest.update(single.data)
            chosen = block[source_rows[start : start + step]]
            total += chosen.sum(axis=(0, 2, 3))
            squares += np.square(chosen).sum(axis=(0, 2, 3))
            pixels += len(chosen) * shape[2] * shape[3]
            progress(min(start + step, shape[0]))
    mean = total / pixels
    deviation = np.sqrt(squares / pixels - mean**2)
    return digest.hexdigest(), {"mean": mean.tolist(), "std": deviation.tolist()}
