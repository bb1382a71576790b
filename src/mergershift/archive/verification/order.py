"""The order of channels and rows in the files of a data folder: what the pixels say about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import Rows, Seen, arrange
from mergershift.archive.channels import channel_order
from mergershift.archive.facts import DataSet
from mergershift.archive.layouts import FileError
from mergershift.archive.metadata import read_metadata
from mergershift.archive.readers import Format, Images
from mergershift.archive.rows import GALAXIES_REMEDY, confirmed, described_by, limits
from mergershift.archive.verification.findings import Report
from mergershift.archive.verification.scan import Scan
from mergershift.core.errors import UserError


def ordered(folder: Path, data_set: DataSet, format: Format, images: Images, report: Report) -> Images:
    """Return the images with their channels in the order of the file's name, and report the file's own order."""
    order = channel_order(folder, data_set, format)
    if order.stored != order.named or not order.decided:
        expected = f"the order of its name, {', '.join(order.named)}"
        report.add("warning", order.file, found=order.description(), expected=expected, remedy=order.remedy)
    elif len(order.named) > 2:
        # Only for these files does what is written about the order disagree.
        report.notes.append(f"{order.file}: {order.description()}")
    return images.with_channels(order.places)


def rows_shown(
    folder: Path, file: str, data_set: DataSet, labels: NDArray[np.int64], found: Scan, report: Report
) -> Rows | None:
    """Find what the rows of a scanned file show, and report an order other than the published one.

    Returns None if labels or metadata contradict the images, which is reported as an error.
    """
    flux = found.means.mean(axis=1)
    try:
        metadata = read_metadata(folder)
    except UserError:
        metadata = None  # The check of the metadata reports this.
    structure = confirmed(data_set, labels, flux.__getitem__)
    if structure and described_by(structure, metadata):
        return structure
    try:
        rows = arrange(folder, labels, Seen.of(found.shapeless, flux), metadata)
    except FileError as error:
        report.add(
            "error", file, found=error.found, expected=error.expected, remedy=str(error).splitlines()[-1]
        )
        return None
    if uncertain := limits(rows):
        expected = (
            "five blocks of mergers, then the other galaxies, with the cameras of a galaxy in adjacent rows"
        )
        report.add("warning", file, found=uncertain, expected=expected, remedy=GALAXIES_REMEDY)
    else:
        report.notes.append(
            f"{file}: the rows are in another order than the published one; galaxies by metadata.ecsv"
        )
    return rows
