"""Download of one file over HTTP, with retries and resumption, without ever joining two versions of a file."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeVar

import requests

from mergershift.core.errors import UserError

T = TypeVar("T")

CHUNK = 1 << 17
FINAL = {
    401: "the file requires a login",
    403: "access is forbidden",
    404: "not found",
    410: "the file is gone",
}
PASSING = {408, 425, 429, 500, 502, 503, 504}
LONGEST_RETRY_AFTER_S = 600.0
WHERE_ADDRESS = "--address, or `address` in conf/archive/deepmerge.yaml"


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry a download."""

    attempts: int = 6
    """Number of consecutive failures without any progress after which a download is given up."""
    backoff_s: float = 1.0
    """Pause after the first failure in seconds; it doubles with every further one."""
    longest_s: float = 60.0
    """Longest pause in seconds."""
    timeout_s: float = 30.0
    """Seconds of silence from the server that count as a failure."""

    def pause(self, failures: int) -> float:
        """Compute the seconds to wait after a number of consecutive failures."""
        return min(self.backoff_s * 2.0 ** (failures - 1), self.longest_s)


@dataclass(frozen=True)
class Downloads:
    """State and settings that the downloads of one command share."""

    patience: RetryPolicy = field(default_factory=RetryPolicy)
    report: Callable[[str], None] = print
    """Shows a message to the user."""
    stop: Event = field(default_factory=Event)
    """Set once a download has failed for good, so that the others stop too."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the server describes it."""

    name: str
    url: str
    size: int | None
    validator: str | None
    """Strong ETag or date of the last change, which proves that a later response is of the same version."""


class Forbidden(UserError):
    """The server denies access to a file; some that list no files respond so for one that they do not have."""


class Stopped(Exception):
    """Raised in a download that stops because another one has failed for good."""


class _Retry(Exception):
    """A failure that may be temporary; `after` is the delay in seconds that the server asks for, if any."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def find(address: str, names: Sequence[str], downloads: Downloads) -> RemoteFile | None:
    """Look for a file on the server under its possible names; None if it has none of them.

    Raises Forbidden if access under one name is denied and the file is under no other, and UserError if the server
    refuses the request in another way or cannot be reached.
    """
    refused: Forbidden | None = None
    for name in names:
        url = f"{address}/{name}"
        try:
            remote = _patiently(url, partial(_ask, name, url, downloads), downloads)
        except Forbidden as error:
            refused = refused or error
            continue
        if remote is not None:
            return remote
    if refused:
        raise refused
    return None


def download(remote: RemoteFile, part: Path, downloads: Downloads, advance: Callable[[int], None]) -> None:
    """Download a file to `part`, resuming an earlier download of the same version.

    An incomplete download stays in `part`. Raises UserError if it cannot be completed, and Stopped if another of the
    `downloads` has failed.
    """
    _patiently(remote.url, lambda: _receive(remote, part, downloads, advance), downloads, lambda: _size(part))


def forget(part: Path, advance: Callable[[int], None]) -> None:
    """Delete an incomplete download and the note of its version."""
    advance(-_size(part))
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def finish(part: Path, target: Path) -> None:
    """Rename a complete download to its final name."""
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _patiently(
    url: str, attempt: Callable[[], T], downloads: Downloads, reached: Callable[[], int] = lambda: 0
) -> T:
    failures, furthest = 0, reached()
    while True:
        try:
            return attempt()
        except _Retry as error:
            why, after = str(error), error.after
        # RequestException is a subclass of OSError, so it has to be caught first.
        except requests.RequestException as error:
            # requests reports a malformed address as an exception that is also a ValueError.
            if isinstance(error, ValueError):
                raise UserError(f"{url}: {error}\nCheck the address ({WHERE_ADDRESS}).") from None
            why, after = f"the connection failed or was lost ({type(error).__name__})", None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"{url}: the disk is full.\nFree some space and run the command again; it resumes the download."
                ) from None
            raise
        failures = 1 if reached() > furthest else failures + 1
        furthest = max(furthest, reached())
        if failures >= downloads.patience.attempts:
            raise UserError(
                f"{url}: {why}, {failures} times in a row.\nRun the command again later; it resumes the download."
            )
        pause = downloads.patience.pause(failures) if after is None else after
        downloads.report(f"{url}: {why}; trying again in {pause:.0f} s")
        if downloads.stop.wait(pause):
            raise Stopped


def _ask(name: str, url: str, downloads: Downloads) -> RemoteFile | None:
    timeout = downloads.patience.timeout_s
    headers = {"Accept-Encoding": "identity"}
    answer = requests.head(url, timeout=timeout, headers=headers, allow_redirects=True)
    if answer.status_code in (400, 403, 405, 501):
        # Some servers and signed addresses respond only to GET.
        answer = requests.get(url, timeout=timeout, headers=headers, stream=True)
        answer.close()
    if answer.status_code in (404, 410):
        return None
    _expect_success(answer, url)
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        # Some servers send a page with status 200 in place of a file that they do not have.
        return None
    size = answer.headers.get("Content-Length")
    return RemoteFile(name, url, int(size) if size else None, _validator(answer))


def _receive(remote: RemoteFile, part: Path, downloads: Downloads, advance: Callable[[int], None]) -> None:
    note = _note(part)
    noted = note.read_text().splitlines() if note.is_file() else []
    # An equal date or tag from another server proves nothing.
    version = noted[1] if len(noted) == 2 and noted[0] == remote.url else None
    have = _size(part)
    if version and (version, have) == (remote.validator, remote.size):
        # An earlier command was killed between the last byte and the renaming.
        return
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with requests.get(
        remote.url, headers=headers, stream=True, timeout=downloads.patience.timeout_s
    ) as answer:
        if answer.status_code == 416:
            forget(part, advance)
            raise _Retry("HTTP 416, the file has become shorter")
        _expect_success(answer, remote.url)
        resumed = answer.status_code == 206
        if resumed:
            total = _total(answer, have)
            if total is None or _validator(answer) not in (None, version):
                forget(part, advance)
                raise _Retry("the server sent another part than requested")
        else:
            forget(part, advance)
            total = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
            note.write_text("\n".join([remote.url, _validator(answer) or ""]))
        with part.open("ab") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))
                if downloads.stop.is_set():
                    raise Stopped
    if total is not None and _size(part) != total:
        found = _size(part)
        if found > total:
            forget(part, advance)
        raise _Retry(f"received {found} of {total} bytes")


def _expect_success(answer: requests.Response, url: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in PASSING:
        raise _Retry(f"HTTP {status}", _retry_after(answer))
    what = FINAL.get(status, "the server refuses the request")
    kind = Forbidden if status == 403 else UserError
    raise kind(f"{url}: HTTP {status}, {what}.\nCheck the address ({WHERE_ADDRESS}).")


def _retry_after(answer: requests.Response) -> float | None:
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except ValueError:
            return None
        zoned = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (zoned - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _validator(answer: requests.Response) -> str | None:
    tag = answer.headers.get("ETag", "")
    # A weak tag promises equal meaning, not equal bytes.
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _total(answer: requests.Response, start: int) -> int | None:
    """Read the size of the whole file from a partial response; None if the part does not begin at `start`."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", "").strip())
    return int(match[3]) if match and int(match[1]) == start else None


def _note(part: Path) -> Path:
    """Return the path of the note with the address and validator of the version that `part` belongs to."""
    return part.with_name(f"{part.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
