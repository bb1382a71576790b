"""Verification of the files in a data folder against everything that is published about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mergershift.archive.facts import DATA_SETS, PUBLISHED_ROWS, DataSet, Domain, RowStructure
from mergershift.archive.layouts import FileError
from mergershift.archive.manifest import Difference, differences, published_files
from mergershift.archive.provenance import (
    PROVENANCE_NAME,
    ArchiveProvenance,
    MockProvenance,
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
from mergershift.archive.verification.pixels import (
    PixelChecks,
    compare_domains,
    compare_filter_sets,
    compare_formats,
)
from mergershift.archive.verification.scan import scan
from mergershift.core.errors import UserError

SCANS_AT_ONCE = 2
BLOCK_ROWS = 128
"""Two scans at once in blocks of this size stay below 300 MB with three filters."""

Advance = Callable[[int], None]
"""Called with the number of further bytes that have been read."""


@dataclass(frozen=True)
class _Opened:
    data_set: DataSet
    format: Format
    images: Images | None
    labels: NDArray[np.int64] | None
    structure: RowStructure | None


def bytes_to_read(folder: Path) -> int:
    """Count the bytes that `verify` will read, once for pixels and once more for files with known hashes."""
    try:
        known = read_provenance(folder)
    except UserError:
        known = None
    hashed = known.files if known else {}
    return sum(path.stat().st_size * (1 + (path.name in hashed)) for path in published_files(folder))


def verify(folder: Path, advance: Advance | None = None) -> Report:
    """Check the names, hashes, shapes, types, values, labels and row structure of a complete or partial archive.

    Raises UserError if the folder contains no file to check.
    """
    if not folder.is_dir() or not (published_files(folder) or misnamed(folder)):
        raise UserError(
            f"{folder}: contains no file of the archive.\n"
            "Make a mock with `mergershift data mock`, or fetch the archive with `mergershift data fetch`."
        )
    report = Report(checked=[path.name for path in published_files(folder)])
    check_names(folder, report)
    provenance = _check_provenance(folder, report)
    check_mocks(folder, provenance, report)
    changed = _check_manifest(folder, provenance, report, advance)
    remedy = _remedy(provenance, changed)
    opened = [
        _open(folder, data_set, format, report, remedy)
        for data_set in DATA_SETS.values()
        for format in FORMATS
        if images_file(folder, data_set, format).is_file() or labels_file(folder, data_set, format).is_file()
    ]
    _check_labels(folder, opened, provenance, report, remedy)
    labels = next((file.labels for file in opened if file.labels is not None), None)
    check_metadata(folder, labels, report)
    _check_pixels(opened, report, remedy, advance)
    return report


def _check_provenance(folder: Path, report: Report) -> MockProvenance | ArchiveProvenance | None:
    try:
        found = read_provenance(folder)
    except UserError as error:
        expected = "what `mergershift data` wrote"
        report.add(
            "error",
            PROVENANCE_NAME,
            found=str(error).split(": ", 1)[-1].splitlines()[0].split("; expected ")[0],
            expected=expected,
            remedy="Restore the file.",
        )
        return None
    if found is None:
        report.add(
            "warning",
            PROVENANCE_NAME,
            found="missing, so the files are of unknown provenance",
            expected="the provenance of a mock or an archive",
            remedy="Do not report scores on files of unknown provenance as scores on the archive.",
        )
    return found


def _check_manifest(
    folder: Path,
    provenance: MockProvenance | ArchiveProvenance | None,
    report: Report,
    advance: Advance | None,
) -> dict[str, Difference]:
    if provenance is None:
        return {}
    changed = differences(folder, provenance.files, advance)
    again = "`mergershift data mock`" if provenance.kind == "mock" else "`mergershift data fetch`"
    for name, how in changed.items():
        found = "missing" if how == "missing" else "content differs from the manifest"
        expected = f"SHA-256 {provenance.files[name]}"
        remedy = f"Run {again} again with the same options: it restores files that are missing or differ."
        report.add("error", name, found=found, expected=expected, remedy=remedy)
    for path in published_files(folder):
        if path.name not in provenance.files:
            expected = "only files of known provenance"
            remedy = "Remove the file, or fetch or make it with `mergershift data`."
            report.add(
                "warning",
                path.name,
                found=f"not listed in {PROVENANCE_NAME}",
                expected=expected,
                remedy=remedy,
            )
    return changed


def _remedy(provenance: MockProvenance | ArchiveProvenance | None, changed: dict[str, Difference]) -> Remedy:
    def remedy(name: str) -> str:
        if provenance is None:
            return "Get the file again from its source."
        if provenance.kind == "mock":
            return "Make the mock again with `mergershift data mock --replace`."
        if name in changed:
            return "Fetch it again with `mergershift data fetch`."
        return f"Delete {name} and fetch it again with `mergershift data fetch --replace`."

    return remedy


def _open(folder: Path, data_set: DataSet, format: Format, report: Report, remedy: Remedy) -> _Opened:
    images, labels, structure = None, None, None
    images_path, labels_path = images_file(folder, data_set, format), labels_file(folder, data_set, format)
    for path, what in ((images_path, "images"), (labels_path, "labels")):
        if not path.is_file():
            how = "Fetch or make the file, or remove its counterpart (the images or labels of the same data set)."
            report.add(
                "error", path.name, found="missing", expected=f"the {what} of this data set", remedy=how
            )
    try:
        images = images_in(images_path, data_set) if images_path.is_file() else None
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
        structure = None if labels is None else RowStructure.from_labels(labels)
    except FileError as error:
        report.add(
            "error",
            labels_path.name,
            found=error.found,
            expected=error.expected,
            remedy=remedy(labels_path.name),
        )
    except ValueError as error:
        expected = "the archive's row structure"
        report.add(
            "error", labels_path.name, found=str(error), expected=expected, remedy=remedy(labels_path.name)
        )
    return _Opened(data_set, format, images, labels, structure)


def _check_labels(
    folder: Path,
    opened: list[_Opened],
    provenance: MockProvenance | ArchiveProvenance | None,
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
        if expected and file.structure and file.structure != expected:
            found = f"{file.structure.mergers} mergers and {file.structure.non_mergers} non-mergers"
            text = f"{expected.mergers} and {expected.non_mergers}, as {PROVENANCE_NAME} says"
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


def _check_pixels(opened: list[_Opened], report: Report, remedy: Remedy, advance: Advance | None) -> None:
    def check(file: _Opened) -> PixelChecks:
        assert file.images is not None
        images = file.images
        row_bytes = int(np.prod(images.shape[1:])) * 8
        found = scan(images, (lambda rows: advance(rows * row_bytes)) if advance else None, BLOCK_ROWS)
        fits_images = file.structure is not None and file.structure.rows == len(images)
        return PixelChecks(
            images.path.name, file.data_set, found, file.structure if fits_images else None, remedy
        )

    readable = [file for file in opened if file.images is not None]
    with ThreadPoolExecutor(SCANS_AT_ONCE) as pool:
        checks = list(pool.map(check, readable))
    for file_checks in checks:
        report.statistics += file_checks.statistics()
        report.findings += file_checks.all()
    report.findings += _compare(checks)


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
        elif first.domain == second.domain and same_format:
            two, three = sorted((one, other), key=lambda checked: len(checked.data_set.filter_set.filters))
            findings += compare_filter_sets(two, three)
    return findings
