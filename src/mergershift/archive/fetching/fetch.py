"""Fetching the published archive into a data folder.

Files gather in a hidden folder beside it (`.data.fetch`), where a download that broke off goes on, and take the
data folder's place only when all that were asked for are there and sound.
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
    """A file to fetch, under any of its names."""

    data_set: DataSet
    names: tuple[str, ...]
    images: bool
    labels: bool

    @property
    def size(self) -> int:
        """Bytes of its images in the published archive."""
        return math.prod(self.data_set.shape()) * 8 * self.images

    def check(self, path: Path) -> None:
        """Raise FileError where a file that came does not hold what it has to."""
        rows = 0
        if self.images:
            images = images_in(path, self.data_set)
            rows = len(images)
            for block, pixels in images.blocks():
                if not np.isfinite(pixels).all():
                    raise FileError(
                        path, f"NaN or infinite pixels in rows from {block.start}", "finite values"
                    )
        if self.labels:
            labels = labels_in(path)
            try:
                RowStructure.from_labels(labels)
            except ValueError as error:
                raise FileError(path, str(error), "the archive's row structure") from None
            if rows not in (0, len(labels)):
                raise FileError(path, f"{len(labels)} labels", f"{rows}, as there are images")


@dataclass
class Fetched:
    """What a fetch has done, by file names."""

    downloaded: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    restored: dict[str, Difference] = field(default_factory=dict)
    """Files that were in the manifest and were missing or differed."""


def wanted_files(data_sets: Sequence[DataSet], formats: Sequence[Format]) -> list[Wanted]:
    """Files that make up some data sets in some formats."""
    wanted = []
    for each in data_sets:
        if "npy" in formats:
            wanted.append(Wanted(each, (each.images_name,), images=True, labels=False))
            wanted.append(Wanted(each, each.labels_names, images=False, labels=True))
        if "fits" in formats:
            wanted.append(Wanted(each, (each.fits_name,), images=True, labels=True))
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
    """Bring the wanted files into a data folder, `jobs` at a time, and return what was done.

    Files of an earlier fetch are compared with its manifest and fetched again only where they are missing or differ.
    Raises UserError where the folder holds an archive of another provenance (unless `replace`), the disk is too
    small, the server lacks a file or fails for good, content is broken, or a file is no longer the one in the
    manifest (unless `replace`). Nothing in the folder changes then, and what has come is kept for the next time.
    """
    with bars or ProgressBars("bytes") as shown, locked(folder):
        line = Downloads(patience or RetryPolicy(), shown.print)
        return _Fetch(folder, address.rstrip("/"), line, shown, replace).run(wanted, jobs)


class _Fetch:
    """One fetch into one folder, which is locked meanwhile."""

    def __init__(
        self, folder: Path, address: str, line: Downloads, bars: ProgressBars, replace: bool
    ) -> None:
        self.folder, self.line, self.bars, self.replace = folder, line, bars, replace
        self.work = beside(folder, "fetch")
        self.provenance = ArchiveProvenance(address=address)
        self._lock = Lock()

    def run(self, asked: Sequence[Wanted], jobs: int) -> Fetched:
        require_same_origin(self.folder, self.provenance, self.replace)
        manifest = self._manifest()
        done = Fetched()
        names = {name for each in asked for name in each.names}
        changed = self._compare(manifest, names)
        done.restored = {name: how for name, how in changed.items() if how == "differs" or name in names}
        done.kept = [name for name in manifest if name not in changed]
        missing = [each for each in _with(asked, done.restored) if not set(each.names) & set(done.kept)]
        gathered = self._gather(missing, jobs)
        done.downloaded = sorted(name for each in missing for name in each.names if name in gathered)
        for name in done.downloaded:
            if not self.replace and manifest.get(name, gathered[name]) != gathered[name]:
                raise UserError(
                    f"{name}: what the server sends now differs from the manifest in {self.folder}\n"
                    "Give --replace to take the new file; results on the old one can't be repeated with it"
                )
        files = {name: manifest[name] for name in done.kept} | {
            name: gathered[name] for name in done.downloaded
        }
        if done.downloaded or files != manifest:
            here = {path.name for path in published_files(self.folder)} if manifest else set()
            self._put_in_place(files, set(done.kept) | here - set(manifest) - set(files))
        return done

    def _manifest(self) -> Manifest:
        """What an earlier fetch from the same address has left."""
        try:
            found = read_provenance(self.folder)
        except UserError:
            # only with `replace`: otherwise this was raised before
            return {}
        return found.files if found and self.provenance.same_origin(found) else {}

    def _compare(self, manifest: Manifest, asked: set[str]) -> dict[str, Difference]:
        sizes = [path.stat().st_size for name in manifest if (path := self.folder / name).is_file()]
        changed = differences(
            self.folder, manifest, self.bars.add("comparing", sum(sizes)).advance if sizes else None
        )
        for name, how in changed.items():
            dropped = how == "missing" and name not in asked
            what = "missing" if how == "missing" else "differs from the manifest"
            self.line.say(f"{name}: {what}; {'no longer listed' if dropped else 'fetching it again'}")
        return changed

    def _gather(self, wanted: Sequence[Wanted], jobs: int) -> Manifest:
        """Download what has not come yet into the hidden folder and return the hashes of all in it."""
        gathered = self._gathered()
        coming = [each for each in wanted if not set(each.names) & set(gathered)]
        if not coming:
            return gathered
        self.work.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(jobs) as pool:
            offers = self._together(
                [pool.submit(ask, self.provenance.address, each.names, self.line) for each in coming]
            )
            here = [self.work / f"{offer.name}.part" for offer in offers]
            there = sum(path.stat().st_size for path in here if path.is_file())
            sizes = [offer.size or each.size for offer, each in zip(offers, coming, strict=True)]
            require_space(self.folder, sum(sizes) - there)
            self._together(
                [pool.submit(self._one, *pair, gathered) for pair in zip(coming, offers, strict=True)]
            )
        return gathered

    def _together(self, futures: list[Future[T]]) -> list[T]:
        """Wait for all, or until one fails: then end the others and raise what it raised."""
        try:
            failed = [each for each in wait(futures, return_when=FIRST_EXCEPTION).done if each.exception()]
        except BaseException:
            self.line.stop.set()
            raise
        if failed:
            self.line.stop.set()
            for each in futures:
                each.cancel()
            errors = [error for each in failed if (error := each.exception())]
            raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
        return [each.result() for each in futures]

    def _one(self, wanted: Wanted, offer: RemoteFile, gathered: Manifest) -> None:
        part, path = self.work / f"{offer.name}.part", self.work / offer.name
        there = part.stat().st_size if part.is_file() else 0
        advance = self.bars.add(offer.name, offer.size or 0, there).advance
        for attempt in range(1, TRIES_OF_BROKEN_CONTENT + 1):
            download(offer, part, self.line, advance)
            finish(part, path)
            try:
                wanted.check(path)
                break
            except FileError as error:
                advance(-path.stat().st_size)
                path.unlink()
                if attempt == TRIES_OF_BROKEN_CONTENT:
                    raise UserError(
                        f"{offer.url}: came {attempt} times with broken content: {error.found}; "
                        f"expected {error.expected}\nTry again later, or another --address"
                    ) from None
                self.line.say(f"{offer.url}: {error.found}; expected {error.expected}; fetching it again")
        found = sha256(path)
        with self._lock:
            gathered[offer.name] = found
            self._note(gathered)
        self.line.say(f"{offer.name}: fetched, {path.stat().st_size / 1e6:.1f} MB")

    def _gathered(self) -> Manifest:
        """Files that an earlier fetch from this address has brought and not put in place."""
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
        come = [self.work / name for name in files if name not in kept]
        for path in come:
            carry(path, new)
        write_provenance(new, self.provenance.with_files(files))
        replace_folder(new, self.folder)
        for path in come:
            path.unlink()
        # what an earlier command asked for and this one did not waits for its turn
        if self.work.is_dir() and not any(path.name != GATHERED_NAME for path in self.work.iterdir()):
            shutil.rmtree(self.work)


def _with(asked: Sequence[Wanted], names: Iterable[str]) -> list[Wanted]:
    """What was asked for and, besides, the files of these names."""
    every = wanted_files(list(DATA_SETS.values()), FORMATS)
    return [each for each in every if each in asked or set(each.names) & set(names)]
