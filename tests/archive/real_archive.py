"""A small archive as the server of the real one has it: FITS files only, in one flat folder, and nothing else.

Names and headers are the real ones, and nothing marks the images as a mock; there is no manifest and no provenance.
`archive.server.serving` serves such a folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from archive.samples import COARSE, write_fits

from mergershift.archive import FILTER_SETS, RowStructure, available, open_images, read_labels
from mergershift.archive.mock import render_universe, write_archive

ROWS = RowStructure(mergers=20, non_mergers=40)
"""The fewest galaxies with which all checks of `mergershift data verify` are conclusive."""


def write_real_archive(
    folder: Path, rows: RowStructure = ROWS, filter_sets: Iterable[str] = tuple(FILTER_SETS), seed: int = 5
) -> Path:
    """Write a mock of galaxies of few stars as the real server has the archive, in a few seconds; return the folder."""
    coarse = patch("mergershift.archive.mock.write.render_universe", partial(render_universe, recipe=COARSE))
    with TemporaryDirectory(dir=folder.parent) as made, coarse:
        write_archive(
            Path(made),
            mergers=rows.mergers,
            non_mergers=rows.non_mergers,
            seed=seed,
            filter_sets=tuple(filter_sets),
            workers=1,
            progress=False,
        )
        return publish(Path(made), folder)


def publish(source: Path, folder: Path) -> Path:
    """Write the data sets of another folder, such as a mock's, as the real server has them, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for data_set in available(source):
        images, labels = open_images(source, data_set), read_labels(source, data_set)
        write_fits(folder / data_set.fits_name, np.asarray(images), labels)
    return folder


def take_for_published(monkeypatch: pytest.MonkeyPatch, rows: RowStructure = ROWS) -> None:
    """Let `mergershift data verify`, run in this process, expect this size of the archive."""
    monkeypatch.setattr("mergershift.archive.verification.verify.PUBLISHED_ROWS", rows)
