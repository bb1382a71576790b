"""Recording of the hashes of files that came by another way than `mergershift data fetch`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mergershift.archive.manifest import published_files, take
from mergershift.archive.provenance import (
    PROVENANCE_NAME,
    ArchiveProvenance,
    Provenance,
    UnknownProvenance,
    read_provenance,
    write_provenance,
)
from mergershift.core.errors import UserError


def require_recordable(folder: Path, address: str | None) -> Provenance:
    """Return the provenance to record for the files in a folder, without their hashes.

    Args:
        folder: Data folder.
        address: URL that the files come from, as a user states; None keeps what was recorded, or leaves it unknown.

    Raises UserError if `mergershift data` made or fetched the files and thus recorded their hashes already.
    """
    found = read_provenance(folder)
    if found and not (found.kind == "unknown" or (found.kind == "archive" and found.stated_by == "user")):
        raise UserError(
            f"{folder / PROVENANCE_NAME}: found: {found}, with its manifest; expected files that came by another way.\n"
            "To add or restore files, run `mergershift data fetch` or `mergershift data mock` again."
        )
    if address is None:
        return found or UnknownProvenance()
    return ArchiveProvenance(address=address.rstrip("/"), stated_by="user")


def record(folder: Path, provenance: Provenance, advance: Callable[[int], None] | None = None) -> int:
    """Write the provenance with the hashes of all files of the archive in a folder; returns their number."""
    files = take(published_files(folder), advance)
    write_provenance(folder, provenance.with_files(files))
    return len(files)
