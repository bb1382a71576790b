"""Fetching of the published archive into a data folder.

Files are gathered in a hidden folder next to it (`.data.fetch`), in which interrupted downloads are resumed. They
replace the data folder only once all requested files are complete and sound.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
from pydantic import ValidationError

from mergershift.archive.facts import DATA_SETS, DataSet, RowStructure
from mergershift.archive.fetching.download import (
    Downloads,
    RemoteFile,
    RetryPolicy,
    Stopped,
    ask,
    download,
    finish,
)
from mergershift.archive.layouts import FileError
from mergershift.archive.manifest import Difference, Manifest, differences, published_files, sha256
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.provenance import (
    ArchiveProvenance,
    read_provenance,
    require_same_origin,
    write_provenance,
)
from mergershift.archive.readers import FORMATS, Format, images_in, labels_in
from mergershift.archive.replacement import beside, carry, fresh, locked, replace_folder, require_space
from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.progress import ProgressBars

T = TypeVar("T")

GATHERED_NAME = "gathered.json"
TRIES_OF_BROKEN_CONTENT = 3


@dataclass(frozen=True)
class Wanted:
    """A file to fetch, which the server may have under any of its names."""

    data_set: DataSet
    names: tuple[str, ...]
    images: bool
    labels: bool

    @property
    def size(self) -> int:
        """Size in bytes of the images in the published archive; 0 for labels."""
        return math.prod(self.data_set.shape()) * 8 * self.images

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
            try:
                RowStructure.from_labels(labels)
            except ValueError as error:
                raise FileError(path, str(error), "the archive's row structure") from None
            if rows not in (0, len(labels)):
                raise FileError(path, f"{len(labels)} labels", f"{rows}, the number of images")


@dataclass
class Fetched:
    """The outcome of a fetch, as names of files."""

    downloaded: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    restored: dict[str, Difference] = field(default_factory=dict)
    """Files in the manifest that were missing from the folder or differed."""


def wanted_files(data_sets: Sequence[DataSet], formats: Sequence[Format]) -> list[Wanted]:
    """List the files that make up some data sets in some formats."""
    wanted = []
    for data_set in data_sets:
        if "npy" in formats:
            wanted.append(Wanted(data_set, (data_set.images_name,), images=True, labels=False))
            wanted.append(Wanted(data_set, data_set.labels_names, images=False, labels=True))
        if "fits" in formats:
            wanted.append(Wanted(data_set, (data_set.fits_name,), images=True, labels=True))
    return wanted


def fetch(
    folder: Path,
    wanted: Sequence[Wanted],
    address: str,
    *,
    replace: bool = False,
    jobs: int = 4,
    patience: RetryPolicy | None = None,
    bars: ProgressBars | None = None,
) -> Fetched:
    """Fetch the wanted files into a data folder, `jobs` at a time, and return the outcome.

    Files of an earlier fetch are compared with its manifest and fetched again only if they are missing or differ.
    Raises UserError if the folder contains an archive of another provenance (unless `replace`), the disk is too
    small, the server lacks a file or fails for good, content is broken, or a file differs from the one in the
    manifest (unless `replace`). In that case the folder is left unchanged, and finished downloads are kept for the
    next attempt.
    """
    with bars or ProgressBars("bytes") as active, locked(folder):
        downloads = Downloads(patience or RetryPolicy(), active.print)
        return _Fetch(folder, address.rstrip("/"), downloads, active, replace).run(wanted, jobs)


class _Fetch:
    """One fetch into one folder, which the caller has locked."""

    def __init__(
        self, folder: Path, address: str, downloads: Downloads, bars: ProgressBars, replace: bool
    ) -> None:
        self.folder, self.downloads, self.bars, self.replace = folder, downloads, bars, replace
        self.work = beside(folder, "fetch")
        self.provenance = ArchiveProvenance(address=address)
        self._lock = Lock()

    def run(self, requested: Sequence[Wanted], jobs: int) -> Fetched:
        require_same_origin(self.folder, self.provenance, self.replace)
        manifest = self._manifest()
        done = Fetched()
        names = {name for wanted in requested for name in wanted.names}
        changed = self._compare(manifest, names)
        done.restored = {name: how for name, how in changed.items() if how == "differs" or name in names}
        done.kept = [name for name in manifest if name not in changed]
        missing = [
            wanted for wanted in _with(requested, done.restored) if not set(wanted.names) & set(done.kept)
        ]
        gathered = self._gather(missing, jobs)
        done.downloaded = sorted(name for wanted in missing for name in wanted.names if name in gathered)
        for name in done.downloaded:
            if not self.replace and manifest.get(name, gathered[name]) != gathered[name]:
                raise UserError(
                    f"{name}: the file on the server now differs from the manifest in {self.folder}.\n"
                    "Give --replace to take the new file; scores on the old one cannot be reproduced with it."
                )
        files = {name: manifest[name] for name in done.kept} | {
            name: gathered[name] for name in done.downloaded
        }
        if done.downloaded or files != manifest:
            here = {path.name for path in published_files(self.folder)} if manifest else set()
            self._put_in_place(files, set(done.kept) | here - set(manifest) - set(files))
        return done

    def _manifest(self) -> Manifest:
        """Return the manifest of an earlier fetch from the same address; empty if there is none."""
        try:
            found = read_provenance(self.folder)
        except UserError:
            # This happens only with `replace`; otherwise `require_same_origin` has raised the error.
            return {}
        return found.files if found and self.provenance.same_origin(found) else {}

    def _compare(self, manifest: Manifest, requested: set[str]) -> dict[str, Difference]:
        sizes = [path.stat().st_size for name in manifest if (path := self.folder / name).is_file()]
        changed = differences(
            self.folder, manifest, self.bars.add("comparing", sum(sizes)).advance if sizes else None
        )
        for name, how in changed.items():
            dropped = how == "missing" and name not in requested
            what = "missing" if how == "missing" else "differs from the manifest"
            self.downloads.report(
                f"{name}: {what}; {'removed from the manifest' if dropped else 'fetching it again'}"
            )
        return changed

    def _gather(self, wanted: Sequence[Wanted], jobs: int) -> Manifest:
        """Download the remaining files into the hidden folder and return the hashes of all files in it."""
        gathered = self._gathered()
        coming = [file for file in wanted if not set(file.names) & set(gathered)]
        if not coming:
            return gathered
        self.work.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            remotes = self._together(
                [pool.submit(ask, self.provenance.address, file.names, self.downloads) for file in coming]
            )
            parts = [self.work / f"{remote.name}.part" for remote in remotes]
            present = sum(path.stat().st_size for path in parts if path.is_file())
            sizes = [remote.size or file.size for remote, file in zip(remotes, coming, strict=True)]
            require_space(self.folder, sum(sizes) - present)
            self._together(
                [pool.submit(self._fetch_one, *pair, gathered) for pair in zip(coming, remotes, strict=True)]
            )
        return gathered

    def _together(self, futures: list[Future[T]]) -> list[T]:
        """Wait for all futures and return their results; if one fails, stop the others and raise its exception."""
        try:
            done = wait(futures, return_when=FIRST_EXCEPTION).done
            failed = [future for future in done if future.exception()]
        except BaseException:
            self.downloads.stop.set()
            raise
        if failed:
            self.downloads.stop.set()
            for future in futures:
                future.cancel()
            errors = [error for future in failed if (error := future.exception())]
            raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
        return [future.result() for future in futures]

    def _fetch_one(self, wanted: Wanted, remote: RemoteFile, gathered: Manifest) -> None:
        part, path = self.work / f"{remote.name}.part", self.work / remote.name
        present = part.stat().st_size if part.is_file() else 0
        advance = self.bars.add(remote.name, remote.size or 0, present).advance
        for attempt in range(1, TRIES_OF_BROKEN_CONTENT + 1):
            download(remote, part, self.downloads, advance)
            finish(part, path)
            try:
                wanted.check(path)
                break
            except FileError as error:
                advance(-path.stat().st_size)
                path.unlink()
                if attempt == TRIES_OF_BROKEN_CONTENT:
                    raise UserError(
                        f"{remote.url}: fetched {attempt} times with broken content: {error.found}; "
                        f"expected {error.expected}.\nTry again later, or give another --address."
                    ) from None
                self.downloads.report(
                    f"{remote.url}: {error.found}; expected {error.expected}; fetching it again"
                )
        found = sha256(path)
        with self._lock:
            gathered[remote.name] = found
            self._note(gathered)
        self.downloads.report(f"{remote.name}: fetched, {path.stat().st_size / 1e6:.1f} MB")

    def _gathered(self) -> Manifest:
        """Return the hashes of files that an earlier fetch from this address has downloaded but not put in place."""
        try:
            note = ArchiveProvenance.model_validate_json((self.work / GATHERED_NAME).read_bytes())
        except (OSError, ValidationError):
            return {}
        if not note.same_origin(self.provenance):
            shutil.rmtree(self.work)
            return {}
        changed = differences(self.work, note.files)
        return {name: found for name, found in note.files.items() if name not in changed}

    def _note(self, gathered: Manifest) -> None:
        write_text(self.work / GATHERED_NAME, self.provenance.with_files(gathered).model_dump_json())

    def _put_in_place(self, files: Manifest, kept: set[str]) -> None:
        new = fresh(self.folder, "new")
        for name in kept | ({METADATA_NAME} if kept else set()):
            if (self.folder / name).exists():
                carry(self.folder / name, new)
        fetched = [self.work / name for name in files if name not in kept]
        for path in fetched:
            carry(path, new)
        write_provenance(new, self.provenance.with_files(files))
        replace_folder(new, self.folder)
        for path in fetched:
            path.unlink()
        # Files that an earlier command requested and this one did not stay there for a later one.
        if self.work.is_dir() and not any(path.name != GATHERED_NAME for path in self.work.iterdir()):
            shutil.rmtree(self.work)


def _with(requested: Sequence[Wanted], names: Iterable[str]) -> list[Wanted]:
    """List the requested files and, in addition, the files with these names."""
    every = wanted_files(list(DATA_SETS.values()), FORMATS)
    return [file for file in every if file in requested or set(file.names) & set(names)]
