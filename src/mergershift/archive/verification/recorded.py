"""Comparison of the files with what was recorded about them: their provenance, manifest and checksums."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mergershift.archive.checksums import checksum_files, read_checksums
from mergershift.archive.layouts import FileError
from mergershift.archive.manifest import Difference, differences, file_hash, published_files
from mergershift.archive.provenance import PROVENANCE_NAME, Provenance, read_provenance
from mergershift.archive.verification.findings import Remedy, Report
from mergershift.core.errors import UserError
from mergershift.core.words import counted

Advance = Callable[[int], None]
"""Called with the number of further bytes that have been read."""


_RESTORE = {
    kind: f"Run `mergershift data {command}` again with the same options: it restores files that are missing or differ."
    for kind, command in (("mock", "mock"), ("archive", "fetch"))
} | {"unknown": "Get the file again from its source, or delete PROVENANCE.json if the new file is right."}


def check_provenance(folder: Path, report: Report) -> Provenance | None:
    """Read the provenance of a data folder; report it if it is missing or damaged."""
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
            remedy="Do not report scores on files of unknown provenance as scores on the archive. "
            "`mergershift data verify --write-manifest` records their hashes, so that later damage is found.",
        )
    elif found.kind == "unknown":
        report.notes.append(f"{PROVENANCE_NAME}: {found}")
    return found


def check_manifest(
    folder: Path,
    provenance: Provenance | None,
    report: Report,
    advance: Advance | None,
) -> dict[str, Difference]:
    """Compare the files with the manifest in their provenance, and return those that are missing or differ."""
    if provenance is None:
        return {}
    changed = differences(folder, provenance.files, advance)
    for name, how in changed.items():
        found = "missing" if how == "missing" else "content differs from the manifest"
        expected = f"SHA-256 {provenance.files[name]}"
        report.add("error", name, found=found, expected=expected, remedy=_RESTORE[provenance.kind])
    for path in published_files(folder):
        if path.name not in provenance.files:
            expected = "only files of known provenance"
            remedy = "Remove the file, or fetch or make it with `mergershift data`."
            if provenance.kind == "unknown":
                remedy = (
                    "Add it to the manifest with `mergershift data verify --write-manifest`, or remove it."
                )
            report.add(
                "warning",
                path.name,
                found=f"not listed in {PROVENANCE_NAME}",
                expected=expected,
                remedy=remedy,
            )
    return changed


def check_checksums(folder: Path, report: Report, advance: Advance | None) -> None:
    """Compare the files with the checksums that came with them: see `checksums.read_checksums`."""
    for path in checksum_files(folder):
        try:
            expected = read_checksums(path)
        except FileError as error:
            remedy = "Get it again from its source, or remove it."
            report.add("warning", path.name, found=error.found, expected=error.expected, remedy=remedy)
            continue
        checked = [name for name in expected if (folder / name).is_file()]
        for name in checked:
            algorithm, wanted = expected[name]
            if file_hash(folder / name, advance, algorithm=algorithm) != wanted:
                text = f"{algorithm.upper()} {wanted}, as {path.name} says"
                remedy = "Get the file again from its source."
                report.add(
                    "error", name, found="its content differs from its checksum", expected=text, remedy=remedy
                )
        report.notes.append(f"{path.name}: {counted(len(checked), 'file')} compared with their checksums")


def remedy_for(provenance: Provenance | None, changed: dict[str, Difference]) -> Remedy:
    """Return what the user can do about a bad file, by its provenance."""

    def remedy(name: str) -> str:
        if provenance is None or provenance.kind == "unknown":
            return "Get the file again from its source."
        if provenance.kind == "mock":
            return "Make the mock again with `mergershift data mock --replace`."
        if name in changed:
            return "Fetch it again with `mergershift data fetch`."
        return f"Delete {name} and fetch it again with `mergershift data fetch --replace`."

    return remedy
