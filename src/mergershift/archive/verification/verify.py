"""Verification of the files in a data folder against everything that is published about them."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.arrangement import Rows
from mergershift.archive.checksums import checksummed
from mergershift.archive.facts import DATA_SETS, PUBLISHED_ROWS, DataSet, Domain, RowStructure
from mergershift.archive.layouts import FileError
from mergershift.archive.manifest import published_files
from mergershift.archive.provenance import (
    ArchiveProvenance,
    MockProvenance,
    Provenance,
    read_provenance,
)
from mergershift.archive.readers import (
    FORMATS,
    Format,
    Images,
    images_file,
    images_in,
    labels_file,
    labels_in,
)
from mergershift.archive.verification.described import check_metadata
from mergershift.archive.verification.findings import Finding, Remedy, Report
from mergershift.archive.verification.names import check_mocks, check_names, misnamed
from mergershift.archive.verification.order import ordered, rows_shown
from mergershift.archive.verification.pixels import (
    PixelChecks,
    compare_domains,
    compare_formats,
)
from mergershift.archive.verification.recorded import (
    Advance,
    check_checksums,
    check_manifest,
    check_provenance,
    remedy_for,
)
from mergershift.archive.verification.scan import Scan, scan
from mergershift.core.errors import UserError

SCANS_AT_ONCE = 2
BLOCK_ROWS = 128
"""Two scans at once in blocks of this size stay below 300 MB with three filters."""


@dataclass(frozen=True)
class _Opened:
    data_set: DataSet
    format: Format
    images: Images | None
    labels: NDArray[np.int64] | None


def bytes_to_read(folder: Path) -> int:
    """Count the bytes that `verify` will read, once for pixels and once more for each hash that is known of a file."""
    try:
        known = read_provenance(folder)
    except UserError:
        known = None
    hashed = Counter(list(known.files) if known else []) + Counter(checksummed(folder))
    return sum(path.stat().st_size * (1 + hashed[path.name]) for path in published_files(folder))


def verify(folder: Path, advance: Advance | None = None, *, stated: Provenance | None = None) -> Report:
    """Check the names, hashes, shapes, types, values, labels, channels and rows of a complete or partial archive.

    Args:
        folder: Data folder.
        advance: Called with the number of further bytes that have been read.
        stated: Provenance that a user states, against which the content is checked rather than the recorded one.

    Raises UserError if the folder contains no file to check.
    """
    if not folder.is_dir() or not (published_files(folder) or misnamed(folder)):
        raise UserError(
            f"{folder}: contains no file of the archive.\n"
            "Make a mock with `mergershift data mock`, or fetch the archive with `mergershift data fetch`."
        )
    report = Report(checked=[path.name for path in published_files(folder)])
    check_names(folder, report)
    provenance = check_provenance(folder, report)
    check_mocks(folder, stated or provenance, report)
    changed = check_manifest(folder, provenance, report, advance)
    check_checksums(folder, report, advance)
    remedy = remedy_for(provenance, changed)
    opened = [
        _open(folder, data_set, format, report, remedy)
        for data_set in DATA_SETS.values()
        for format in FORMATS
        if images_file(folder, data_set, format).is_file() or labels_file(folder, data_set, format).is_file()
    ]
    _check_labels(folder, opened, stated or provenance, report, remedy)
    labels = next((file.labels for file in opened if file.labels is not None), None)
    check_metadata(folder, labels, report)
    _check_pixels(folder, opened, report, remedy, advance)
    return report


def _open(folder: Path, data_set: DataSet, format: Format, report: Report, remedy: Remedy) -> _Opened:
    images, labels = None, None
    images_path, labels_path = images_file(folder, data_set, format), labels_file(folder, data_set, format)
    for path, what in ((images_path, "images"), (labels_path, "labels")):
        if not path.is_file():
            how = "Fetch or make the file, or remove its counterpart (the images or labels of the same data set)."
            report.add(
                "error", path.name, found="missing", expected=f"the {what} of this data set", remedy=how
            )
    try:
        if images_path.is_file():
            images = ordered(folder, data_set, format, images_in(images_path, data_set), report)
    except FileError as error:
        report.add(
            "error",
            images_path.name,
            found=error.found,
            expected=error.expected,
            remedy=remedy(images_path.name),
        )
    try:
        labels = labels_in(labels_path) if labels_path.is_file() else None
    except FileError as error:
        report.add(
            "error",
            labels_path.name,
            found=error.found,
            expected=error.expected,
            remedy=remedy(labels_path.name),
        )
    return _Opened(data_set, format, images, labels)


def _check_labels(
    folder: Path,
    opened: list[_Opened],
    provenance: Provenance | None,
    report: Report,
    remedy: Remedy,
) -> None:
    expected = PUBLISHED_ROWS if isinstance(provenance, ArchiveProvenance) else None
    if isinstance(provenance, MockProvenance):
        expected = RowStructure(provenance.mergers, provenance.non_mergers)
    for file in opened:
        name = labels_file(folder, file.data_set, file.format).name
        if file.images is not None and file.labels is not None and len(file.images) != len(file.labels):
            found, rows = (
                f"{len(file.labels)} labels",
                f"{len(file.images)}, the number of images in {file.images.path.name}",
            )
            report.add("error", name, found=found, expected=rows, remedy=remedy(name))
        counts = None if file.labels is None else (int(file.labels.sum()), int((1 - file.labels).sum()))
        if expected and counts and counts != (expected.merger_rows, expected.rows - expected.merger_rows):
            found = f"{counts[0]} rows of mergers and {counts[1]} of non-mergers"
            galaxies = f"{expected.mergers} mergers and {expected.non_mergers} non-mergers"
            text = f"those of {galaxies}, as their provenance says"
            report.add("error", name, found=found, expected=text, remedy=remedy(name))
    by_name = {
        labels_file(folder, file.data_set, file.format).name: file.labels
        for file in opened
        if file.labels is not None
    }
    # The labels that most files agree on are taken to be right.
    votes = Counter(labels.tobytes() for labels in by_name.values())
    agreed = next(
        (name for name, labels in by_name.items() if labels.tobytes() == votes.most_common(1)[0][0]), ""
    )
    for name, labels in by_name.items():
        if not np.array_equal(labels, by_name[agreed]):
            found = f"{labels.sum()} mergers in {len(labels)} rows, some of them in other rows"
            report.add("error", name, found=found, expected=f"the labels of {agreed}", remedy=remedy(name))


def _check_pixels(
    folder: Path, opened: list[_Opened], report: Report, remedy: Remedy, advance: Advance | None
) -> None:
    def scanned(file: _Opened) -> Scan:
        assert file.images is not None
        row_bytes = int(np.prod(file.images.shape[1:])) * 8
        return scan(file.images, (lambda rows: advance(rows * row_bytes)) if advance else None, BLOCK_ROWS)

    readable = [file for file in opened if file.images is not None]
    with ThreadPoolExecutor(SCANS_AT_ONCE) as pool:
        scans = list(pool.map(scanned, readable))
    shown = _rows_by_filter_set(folder, readable, scans, report)
    checks = []
    for file, found in zip(readable, scans, strict=True):
        assert file.images is not None
        rows = shown.get(file.data_set.filter_set.name)
        same = rows is not None and file.labels is not None and np.array_equal(rows.labels, file.labels)
        fits = same and len(found.means) == len(file.labels if file.labels is not None else ())
        name = file.images.path.name
        checks.append(PixelChecks(name, file.data_set, found, rows if fits else None, remedy))
    for file_checks in checks:
        report.statistics += file_checks.statistics()
        report.findings += file_checks.all()
    report.findings += _compare(checks)


def _rows_by_filter_set(
    folder: Path, readable: list[_Opened], scans: list[Scan], report: Report
) -> dict[str, Rows | None]:
    """Find what the rows of each filter set show, by its pristine images if they are there."""
    shown: dict[str, Rows | None] = {}
    pairs = sorted(
        zip(readable, scans, strict=True), key=lambda pair: pair[0].data_set.domain is Domain.NOISY
    )
    for file, found in pairs:
        name = file.data_set.filter_set.name
        if name not in shown and file.labels is not None and len(file.labels) == len(found.means):
            labels_name = labels_file(folder, file.data_set, file.format).name
            shown[name] = rows_shown(folder, labels_name, file.data_set, file.labels, found, report)
    return shown


def _compare(checks: list[PixelChecks]) -> list[Finding]:
    findings: list[Finding] = []
    pairs = [
        (one, other) for one, other in combinations(checks, 2) if len(one.scan.means) == len(other.scan.means)
    ]
    for one, other in pairs:
        first, second = one.data_set, other.data_set
        same_format = Path(one.file).suffix == Path(other.file).suffix
        if first == second:
            findings += compare_formats(one, other)
        elif first.filter_set == second.filter_set and same_format:
            pristine, noisy = (one, other) if first.domain is Domain.PRISTINE else (other, one)
            findings += compare_domains(pristine, noisy)
    return findings
