"""The provenance of the files in a data folder, recorded next to them in `PROVENANCE.json`.

A folder without that file, or with one that only lists hashes, has unknown provenance: it is never treated as the real
archive, and never replaced unless the user asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mergershift.archive.facts import DOI, LICENCE, LICENCE_ADDRESS, REFERENCE
from mergershift.archive.manifest import published_files
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file
from mergershift.core.words import counted

PROVENANCE_NAME = "PROVENANCE.json"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class Origin(BaseModel):
    """The part of a provenance that determines the images, without dates and lists of files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["mock", "archive", "unknown"]
    seed: int | None = None
    mergers: int | None = None
    non_mergers: int | None = None
    mock_version: int | None = None
    address: str | None = None
    stated_by: Literal["user"] | None = None
    """"user" if a user stated the address, from which nothing was fetched."""

    @property
    def universe(self) -> str:
        """Description of the mock universe: its seed, numbers of galaxies and version."""
        counts = ((self.mergers, "merger"), (self.non_mergers, "non-merger"))
        galaxies = [counted(number, noun) for number, noun in counts if number is not None]
        return ", ".join([f"seed {self.seed}", *galaxies, f"version {self.mock_version}"])


class _Recorded(BaseModel):
    """Fields common to every provenance."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[str, str] = {}
    """Manifest: SHA-256 of each file, by name."""
    package_version: str = Field(default_factory=lambda: version("mergershift"))

    def with_files(self, files: Mapping[str, str]) -> Self:
        """Return the same provenance with another manifest."""
        return self.model_copy(update={"files": dict(sorted(files.items()))})


class MockProvenance(_Recorded):
    """Provenance of a mock archive; equal seeds, numbers of galaxies and versions mean the same universe."""

    kind: Literal["mock"] = "mock"
    seed: int
    mergers: int
    non_mergers: int
    mock_version: int
    filter_sets: tuple[str, ...]
    fits: bool

    def __str__(self) -> str:
        return f"mock archive, {self.origin.universe}"

    @property
    def origin(self) -> Origin:
        """The fields that determine the images."""
        return Origin.model_validate(self.model_dump(include=set(Origin.model_fields)))

    def same_archive(self, other: MockProvenance) -> bool:
        """Return whether the other archive has the same universe, filter sets and formats."""
        return self.same_origin(other) and not lost(self, other) and not lost(other, self)

    def same_origin(self, other: Provenance) -> bool:
        """Return whether the other is a mock of the same universe; filter sets and formats may differ."""
        names = {"seed", "mergers", "non_mergers", "mock_version"}
        return isinstance(other, MockProvenance) and self.model_dump(include=names) == other.model_dump(
            include=names
        )


class ArchiveProvenance(_Recorded):
    """Provenance of the published archive, fetched from an address."""

    kind: Literal["archive"] = "archive"
    address: str
    date: datetime = Field(default_factory=_now)
    """When the last file was fetched, or the manifest of files that came by another way was written."""
    stated_by: Literal["fetch", "user"] = "fetch"
    """Whether all files were fetched from the address, or a user stated for some that they come from there."""
    licence: str = f"{LICENCE} {LICENCE_ADDRESS}"
    doi: str = DOI
    reference: str = REFERENCE
    """Bibliographic code of the paper to cite with the images."""

    def __str__(self) -> str:
        if self.stated_by == "user":
            return f"archive from {self.address}, as a user stated; not all of it fetched by mergershift"
        return f"archive fetched from {self.address}"

    @property
    def origin(self) -> Origin:
        """The fields that determine the images."""
        stated = self.stated_by == "user"
        return Origin(kind=self.kind, address=self.address, stated_by="user" if stated else None)

    def same_origin(self, other: Provenance) -> bool:
        """Return whether the other was fetched from the same address."""
        return isinstance(other, ArchiveProvenance) and self.address == other.address


class UnknownProvenance(_Recorded):
    """A manifest of files whose origin is not known."""

    kind: Literal["unknown"] = "unknown"
    date: datetime = Field(default_factory=_now)
    """When the manifest was written."""

    def __str__(self) -> str:
        return f"files of unknown provenance, unchanged since {self.date:%Y-%m-%d} or reported"

    @property
    def origin(self) -> Origin:
        """The fields that determine the images: none is known."""
        return Origin(kind=self.kind)

    def same_origin(self, other: Provenance) -> bool:
        """Return False, since files of unknown origin may differ from any other."""
        return False


def images_of(kind: str) -> str:
    """Return the label for images of a kind of provenance, shown next to every score and figure made from them."""
    return {"mock": "MOCK images, not the archive", "archive": "the DeepMerge archive's images"}.get(
        kind, f"images of {kind} provenance"
    )


def terms_of(kind: str) -> str:
    """State the licence of images of a kind of provenance, and what to cite with them, in a sentence or two."""
    if kind == "archive":
        return (
            f"The archive's images are published under {LICENCE} ({LICENCE_ADDRESS}); "
            f"cite doi:{DOI} and {REFERENCE} (https://ui.adsabs.harvard.edu/abs/{REFERENCE})."
        )
    if kind == "mock":
        return f"Mock images are not the archive's: its licence ({LICENCE}) and references do not cover them."
    return f"The licence of images of {kind} provenance is unknown."


Provenance = MockProvenance | ArchiveProvenance | UnknownProvenance
_ADAPTER: TypeAdapter[Provenance] = TypeAdapter(Annotated[Provenance, Field(discriminator="kind")])


def read_provenance(folder: Path) -> Provenance | None:
    """Read the provenance of the files in a folder; None if it is not recorded.

    Raises UserError if `PROVENANCE.json` cannot be read or contains anything else.
    """
    path = folder / PROVENANCE_NAME
    if not path.is_file():
        return None
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{path}: {where or 'content'}: {first['msg']}; expected what `mergershift data` wrote.\n"
            "Restore the file, or delete it to continue with an archive of unknown provenance."
        ) from None


def write_provenance(folder: Path, provenance: Provenance) -> None:
    """Write the provenance of the files in a folder; an older file is replaced rather than modified."""
    record = provenance.model_dump(mode="json")
    # The short fields come before the long list of hashes, for whoever reads the file.
    record["files"] = record.pop("files")
    with atomic_file(folder / PROVENANCE_NAME, hidden=True) as partial:
        partial.write_text(json.dumps(record, indent=2) + "\n")


def require_same_origin(folder: Path, wanted: MockProvenance | ArchiveProvenance, replace: bool) -> None:
    """Raise UserError if a folder contains files of another or unknown provenance, unless `replace`."""
    if replace or not published_files(folder):
        return
    found = read_provenance(folder)
    if found is None:
        contents = f"archive files of unknown provenance (no {PROVENANCE_NAME})"
    elif not wanted.same_origin(found):
        contents = str(found)
    elif isinstance(found, MockProvenance) and isinstance(wanted, MockProvenance) and lost(found, wanted):
        contents = f"the same mock with {lost(found, wanted)} in addition"
    else:
        return
    raise UserError(
        f"{folder}: found: {contents}; requested: {wanted}.\n"
        "Give --replace to put the new files in its place, or --data DIR to write elsewhere."
    )


def lost(found: MockProvenance, wanted: MockProvenance) -> str:
    """Name the filter sets and formats that a mock has and the wanted one would not; empty if there are none."""
    sets = [f"filter set {name}" for name in found.filter_sets if name not in wanted.filter_sets]
    return " and ".join(sets + ["FITS files"] * (found.fits and not wanted.fits))
