"""The files that make up a data set in each format, and the choice between the formats that a server has."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mergershift.archive.facts import DATA_SETS, DataSet
from mergershift.archive.fetching.download import WHERE_ADDRESS, Downloads, Forbidden, RemoteFile, find
from mergershift.archive.layouts import FileError
from mergershift.archive.readers import FORMATS, Format, images_in, labels_in
from mergershift.core.errors import UserError


@dataclass(frozen=True)
class File:
    """A file to fetch, which the server may have under any of its names."""

    data_set: DataSet
    names: tuple[str, ...]
    images: bool
    labels: bool

    @property
    def size(self) -> int:
        """Size in bytes of the images in the published archive; 0 for labels."""
        return math.prod(self.data_set.shape()) * 8 * self.images

    def within(self, names: Collection[str]) -> bool:
        """Return whether one of the file's names is among some names."""
        return any(name in names for name in self.names)

    def check(self, path: Path) -> None:
        """Raise FileError if the content of the fetched file is not as expected."""
        rows = 0
        if self.images:
            images = images_in(path, self.data_set)
            rows = len(images)
            for block, pixels in images.blocks():
                if not np.isfinite(pixels).all():
                    raise FileError(
                        path,
                        f"NaN or infinite pixels in rows {block.start} to {block.stop - 1}",
                        "finite values",
                    )
        if self.labels:
            labels = labels_in(path)
            if rows not in (0, len(labels)):
                raise FileError(path, f"{len(labels)} labels", f"{rows}, the number of images")


Found = list[tuple[File, RemoteFile | None]]
"""Files with their place on the server; None for files that are here already."""


@dataclass(frozen=True)
class Wanted:
    """A data set to fetch, in the first of some formats that the server has."""

    data_set: DataSet
    formats: tuple[Format, ...]

    def files(self, format: Format) -> list[File]:
        """List the files of the data set in one of the formats."""
        if format == "fits":
            return [File(self.data_set, self.data_set.fits_names, images=True, labels=True)]
        return [
            File(self.data_set, self.data_set.images_names, images=True, labels=False),
            File(self.data_set, self.data_set.labels_names, images=False, labels=True),
        ]

    def as_fetched(self, kept: Collection[str], manifest: Collection[str]) -> Wanted:
        """Return the same with only the format that an earlier fetch has chosen, if one has.

        Args:
            kept: Names of the files that an earlier fetch left and are unchanged.
            manifest: Names of all files of an earlier fetch.
        """
        for names, enough in ((kept, all), (manifest, any)):
            for format in self.formats:
                if enough(file.within(names) for file in self.files(format)):
                    return Wanted(self.data_set, (format,))
        return self

    def find(self, address: str, here: Collection[str], downloads: Downloads) -> Found:
        """Find the files that are not `here` on the server, in the first format that is complete.

        Raises UserError if no format is complete or the server cannot be reached, and Forbidden if it denies access
        and has no file of the data set.
        """
        formats = sorted(
            self.formats, key=lambda format: not all(file.within(here) for file in self.files(format))
        )
        for format in formats:
            found: Found = [
                (file, None if file.within(here) else _unless_forbidden(file, address, downloads, []))
                for file in self.files(format)
            ]
            if all(remote or file.within(here) for file, remote in found):
                if len(formats) > 1:
                    names = [remote.name for _, remote in found if remote]
                    downloads.report(
                        f"{self.data_set}: in format {format}, {' and '.join(names) or 'fetched before'}"
                    )
                return found
        raise self._missing(address, downloads)

    def _missing(self, address: str, downloads: Downloads) -> UserError:
        """Make the error for a data set that the server has in none of the formats, and name what it has instead."""
        refused: list[Forbidden] = []
        found = {
            format: [
                (file, _unless_forbidden(file, address, downloads, refused)) for file in self.files(format)
            ]
            for format in FORMATS
        }
        lacking = [file for format in self.formats for file, remote in found[format] if not remote]
        complete = [format for format in FORMATS if all(remote for _, remote in found[format])]
        present = " and ".join(remote.name for pairs in found.values() for _, remote in pairs if remote)
        if refused and not present:
            return refused[0]
        remedy = f"Check the address ({WHERE_ADDRESS})."
        if complete:
            remedy = f"It has {present}: give --format {complete[0]}, or leave --format out."
        elif present:
            remedy = f"It has only {present}. {remedy}"
        return UserError(f"{_not_there(address, lacking, forbidden=bool(refused))}\n{remedy}")


def find_file(file: File, address: str, here: Collection[str], downloads: Downloads) -> Found:
    """Find a single file on the server; raises UserError if the server lacks it or cannot be reached."""
    if file.within(here):
        return [(file, None)]
    remote = find(address, file.names, downloads)
    if remote is None:
        raise UserError(f"{_not_there(address, [file])}\nCheck the address ({WHERE_ADDRESS}).")
    return [(file, remote)]


def _unless_forbidden(
    file: File, address: str, downloads: Downloads, refused: list[Forbidden]
) -> RemoteFile | None:
    """Find a file on the server; one to which access is denied counts as not there, and is noted in `refused`."""
    try:
        return find(address, file.names, downloads)
    except Forbidden as error:
        refused.append(error)
        return None


def _not_there(address: str, files: Sequence[File], forbidden: bool = False) -> str:
    names = " or ".join(file.names[0] for file in files)
    others = " (nor under another spelling)" if any(len(file.names) > 1 for file in files) else ""
    status = "HTTP 404 or 403" if forbidden else "HTTP 404"
    return f"{address}: the server has no {names}{others}: {status}, or a web page instead."


WHICH_FORMATS: Mapping[str, tuple[tuple[Format, ...], ...]] = {
    "any": (("npy", "fits"),),
    "npy": (("npy",),),
    "fits": (("fits",),),
    "both": (("npy",), ("fits",)),
}
"""Formats of a data set to fetch: every entry of a value is fetched, in the first of its formats that exists."""


def wanted(data_sets: Iterable[DataSet], which: str = "any") -> list[Wanted]:
    """List some data sets as wanted in the formats that `WHICH_FORMATS` has under a name."""
    return [Wanted(data_set, formats) for data_set in data_sets for formats in WHICH_FORMATS[which]]


def named_files(names: Collection[str]) -> list[File]:
    """List the files of the archive that have one of these names."""
    every = [
        file
        for data_set in DATA_SETS.values()
        for format in FORMATS
        for file in Wanted(data_set, (format,)).files(format)
    ]
    return [file for file in every if file.within(names)]


def all_files(requested: Sequence[Wanted]) -> list[File]:
    """List the files of the requested data sets in all their possible formats."""
    return [file for item in requested for format in item.formats for file in item.files(format)]
