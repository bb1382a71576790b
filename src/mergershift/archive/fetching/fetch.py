"""Fetching of the published archive into a data folder.

Files are gathered in a hidden folder next to it (`.data.fetch`), in which interrupted downloads are resumed. They
replace the data folder only once all requested files are complete and sound.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from pydantic import ValidationError

from mergershift.archive.fetching.download import (
    Downloads,
    RemoteFile,
    RetryPolicy,
    Stopped,
    download,
    finish,
)
from mergershift.archive.fetching.files import File, Found, Wanted, all_files, find_file, named_files
from mergershift.archive.layouts import FileError
from mergershift.archive.manifest import Difference, Manifest, differences, file_hash, published_files
from mergershift.archive.metadata import METADATA_NAME
from mergershift.archive.provenance import (
    ArchiveProvenance,
    read_provenance,
    require_same_origin,
    write_provenance,
)
from mergershift.archive.replacement import beside, carry, fresh, locked, replace_folder, require_space
from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.progress import ProgressBars

T = TypeVar("T")

GATHERED_NAME = "gathered.json"
TRIES_OF_BROKEN_CONTENT = 3


@dataclass
class Fetched:
    """The outcome of a fetch, as names of files."""

    downloaded: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    restored: dict[str, Difference] = field(default_factory=dict)
    """Files in the manifest that were missing from the folder or differed."""


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
    """Fetch the wanted data sets into a data folder, `jobs` files at a time, and return the outcome.

    Files of an earlier fetch are compared with its manifest and fetched again only if they are missing or differ.
    Raises UserError if the folder contains an archive of another provenance (unless `replace`), the disk is too
    small, the server lacks a data set or fails for good, content is broken, or a file differs from the one in the
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

    def run(self, wanted: Sequence[Wanted], jobs: int) -> Fetched:
        require_same_origin(self.folder, self.provenance, self.replace)
        earlier = self._earlier()
        manifest = earlier.files if earlier else {}
        done = Fetched()
        changed = self._compare(manifest)
        done.kept = [name for name in manifest if name not in changed]
        if earlier and done.kept:
            # That other files are fetched does not show where those came from that a user brought.
            self.provenance = self.provenance.model_copy(update={"stated_by": earlier.stated_by})
        requested = [item.as_fetched(done.kept, manifest) for item in wanted]
        names = {name for file in all_files(requested) for name in file.names}
        done.restored = self._to_restore(changed, names)
        gathered, found = self._gather(requested, done, jobs)
        missing = [file for file in found if not file.within(done.kept)]
        for file in missing:
            name = next(name for name in file.names if name in gathered)
            done.downloaded.append(name)
            recorded = next((manifest[known] for known in file.names if known in manifest), gathered[name])
            if not self.replace and recorded != gathered[name]:
                raise UserError(
                    f"{name}: the file on the server now differs from the manifest in {self.folder}.\n"
                    "Give --replace to take the new file; scores on the old one cannot be reproduced with it."
                )
        done.downloaded.sort()
        files = {name: manifest[name] for name in done.kept} | {
            name: gathered[name] for name in done.downloaded
        }
        if done.downloaded or files != manifest:
            here = {path.name for path in published_files(self.folder)} if manifest else set()
            self._put_in_place(files, set(done.kept) | here - set(manifest) - set(files))
        return done

    def _earlier(self) -> ArchiveProvenance | None:
        """Return the provenance of files that came from the same address earlier; None if there are none."""
        try:
            found = read_provenance(self.folder)
        except UserError:
            # This happens only with `replace`; otherwise `require_same_origin` has raised the error.
            return None
        return found if isinstance(found, ArchiveProvenance) and self.provenance.same_origin(found) else None

    def _compare(self, manifest: Manifest) -> dict[str, Difference]:
        sizes = [path.stat().st_size for name in manifest if (path := self.folder / name).is_file()]
        return differences(
            self.folder, manifest, self.bars.add("comparing", sum(sizes)).advance if sizes else None
        )

    def _to_restore(self, changed: dict[str, Difference], requested: set[str]) -> dict[str, Difference]:
        """Select the files to fetch again: all that differ, and of the missing ones those that are requested."""
        restored: dict[str, Difference] = {}
        for name, how in changed.items():
            what = "missing" if how == "missing" else "differs from the manifest"
            if how == "differs" or name in requested:
                restored[name] = how
            self.downloads.report(
                f"{name}: {what}; {'fetching it again' if name in restored else 'removed from the manifest'}"
            )
        return restored

    def _gather(self, requested: Sequence[Wanted], done: Fetched, jobs: int) -> tuple[Manifest, list[File]]:
        """Download the remaining files into the hidden folder; returns the hashes of all in it, and what was found."""
        gathered = self._gathered()
        here = {*done.kept, *gathered}
        possible = all_files(requested)
        again = [file for file in named_files(done.restored) if file not in possible]
        search: list[Callable[[str, Collection[str], Downloads], Found]] = [
            *(item.find for item in requested),
            *(partial(find_file, file) for file in again),
        ]
        with ThreadPoolExecutor(jobs) as pool:
            answers = self._together(
                [pool.submit(find, self.provenance.address, here, self.downloads) for find in search]
            )
            found = [pair for answer in answers for pair in answer]
            coming = [(file, remote) for file, remote in found if remote]
            if coming:
                self.work.mkdir(parents=True, exist_ok=True)
                parts = [self.work / f"{remote.name}.part" for _, remote in coming]
                present = sum(path.stat().st_size for path in parts if path.is_file())
                needed = sum(remote.size or file.size for file, remote in coming)
                require_space(self.folder, needed - present)
                self._together([pool.submit(self._fetch_one, *pair, gathered) for pair in coming])
        return gathered, [file for file, _ in found]

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

    def _fetch_one(self, file: File, remote: RemoteFile, gathered: Manifest) -> None:
        part, path = self.work / f"{remote.name}.part", self.work / remote.name
        present = part.stat().st_size if part.is_file() else 0
        advance = self.bars.add(remote.name, remote.size or 0, present).advance
        for attempt in range(1, TRIES_OF_BROKEN_CONTENT + 1):
            download(remote, part, self.downloads, advance)
            finish(part, path)
            try:
                file.check(path)
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
        found = file_hash(path)
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
