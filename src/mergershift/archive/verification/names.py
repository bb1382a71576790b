"""Checks of the names of files: names that are none of the archive's, and one file under several names."""

from __future__ import annotations

from pathlib import Path

from mergershift.archive.checksums import checksum_files
from mergershift.archive.facts import DATA_SETS
from mergershift.archive.headers import is_mock
from mergershift.archive.manifest import published_files, published_names
from mergershift.archive.provenance import MockProvenance, Provenance
from mergershift.archive.readers import differing
from mergershift.archive.verification.findings import Report
from mergershift.core.errors import nearest


def misnamed(folder: Path) -> list[str]:
    """List array files whose names are not names of the archive."""
    known = published_names() | {path.name for path in checksum_files(folder)}
    names = (
        path.name
        for path in folder.iterdir()
        if path.suffix in {".npy", ".fits"} or path.name.startswith("hlsp_")
    )
    return sorted(name for name in names if name not in known)


def check_names(folder: Path, report: Report) -> None:
    """Report files with other names than the archive's, and files that are there under several of their names."""
    for name in misnamed(folder):
        near = nearest(name, published_names(), count=1)
        report.add(
            "error",
            name,
            found="not a name of the archive",
            expected=near,
            remedy="Rename or remove the file.",
        )
    for data_set in DATA_SETS.values():
        for names in (data_set.images_names, data_set.labels_names, data_set.fits_names):
            paths = [folder / name for name in names if (folder / name).is_file()]
            others = differing(paths)
            for path in paths[1:]:
                wrong = path in others
                report.add(
                    "error" if wrong else "warning",
                    path.name,
                    found=f"{'differs from' if wrong else 'has the same content as'} {paths[0].name}",
                    expected="one of the two, since both are names of the same file",
                    remedy="Delete the one that is wrong." if wrong else "Delete one of them.",
                )


def check_mocks(folder: Path, provenance: Provenance | None, report: Report) -> None:
    """Report FITS files that are mocks by their headers in a folder that is none by its provenance."""
    if isinstance(provenance, MockProvenance):
        return
    for path in published_files(folder):
        if path.suffix == ".fits" and is_mock(path):
            report.add(
                "error" if provenance else "warning",
                path.name,
                found="a mock, as its header says",
                expected="a file of the archive",
                remedy="Do not report scores on it as scores on the archive.",
            )
