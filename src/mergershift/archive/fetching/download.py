"""Downloading one file over HTTP, patiently: retries, resumes, and never glues two versions of a file together."""

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
FINAL = {401: "needs a login", 403: "is forbidden", 404: "not found", 410: "is gone"}
PASSING = {408, 425, 429, 500, 502, 503, 504}
LONGEST_RETRY_AFTER_S = 600.0
WHERE_ADDRESS = "--address, or `address` in conf/archive/deepmerge.yaml"


@dataclass(frozen=True)
class RetryPolicy:
    """How long to try."""

    attempts: int = 6
    """Failures in a row, without a byte further than ever before, after which a download is given up."""
    backoff_s: float = 1.0
    """Pause after the first failure; it doubles with each further one."""
    longest_s: float = 60.0
    timeout_s: float = 30.0
    """Silence of the server that counts as a failure."""

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.backoff_s * 2.0 ** (failures - 1), self.longest_s)


@dataclass(frozen=True)
class Downloads:
    """What the downloads of one command share."""

    patience: RetryPolicy = field(default_factory=RetryPolicy)
    say: Callable[[str], None] = print
    stop: Event = field(default_factory=Event)
    """Set when one download has failed for good, so that the others end too."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the server offers it."""

    name: str
    url: str
    size: int | None
    validator: str | None
    """Strong ETag or date of the last change: what proves that a later answer is of the same version."""


class Stopped(Exception):
    """Another download has failed for good."""


class _Again(Exception):
    """A failure that may pass; `after` seconds if the server said so."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


def ask(address: str, names: Sequence[str], line: Downloads) -> RemoteFile:
    """Ask the server for a file under each of its names and return the first that is there.

    Raises UserError where none is, or the server can't be reached.
    """
    for name in names:
        url = f"{address}/{name}"
        offer = _patiently(url, partial(_ask, name, url, line), line)
        if offer is not None:
            return offer
    raise UserError(
        f"{address}/{' or '.join(names)}: HTTP 404, the server has no such file\n"
        f"Check the address: {WHERE_ADDRESS}"
    )


def download(offer: RemoteFile, part: Path, line: Downloads, advance: Callable[[int], None]) -> None:
    """Download a file to `part`, going on where an earlier download of the same version broke off.

    A broken download stays in `part`. Raises UserError where it can't be completed, Stopped where `line` was.
    """
    _patiently(offer.url, lambda: _receive(offer, part, line, advance), line, lambda: _size(part))


def forget(part: Path, advance: Callable[[int], None]) -> None:
    """Delete an unfinished download and what is noted of it."""
    advance(-_size(part))
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def finish(part: Path, target: Path) -> None:
    """Give a finished download its name."""
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _patiently(
    url: str, attempt: Callable[[], T], line: Downloads, reached: Callable[[], int] = lambda: 0
) -> T:
    failures, furthest = 0, reached()
    while True:
        try:
            return attempt()
        except _Again as error:
            why, after = str(error), error.after
        # before OSError, of which it is a kind
        except requests.RequestException as error:
            # addresses that can't be one are ValueErrors besides
            if isinstance(error, ValueError):
                raise UserError(f"{url}: {error}\nCheck the address: {WHERE_ADDRESS}") from None
            why, after = f"the connection failed or broke off ({type(error).__name__})", None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"{url}: the disk is full\nMake room and give the command again: it goes on from here"
                ) from None
            raise
        failures = 1 if reached() > furthest else failures + 1
        furthest = max(furthest, reached())
        if failures >= line.patience.attempts:
            raise UserError(
                f"{url}: {why}, {failures} times in a row\nGive the command again later: it goes on from here"
            )
        pause = line.patience.pause(failures) if after is None else after
        line.say(f"{url}: {why}; trying again in {pause:.0f} s")
        if line.stop.wait(pause):
            raise Stopped


def _ask(name: str, url: str, line: Downloads) -> RemoteFile | None:
    timeout = line.patience.timeout_s
    headers = {"Accept-Encoding": "identity"}
    answer = requests.head(url, timeout=timeout, headers=headers, allow_redirects=True)
    if answer.status_code in (400, 403, 405, 501):
        # some servers and signed addresses answer GET alone
        answer = requests.get(url, timeout=timeout, headers=headers, stream=True)
        answer.close()
    if answer.status_code in (404, 410):
        return None
    _expect_success(answer, url)
    size = answer.headers.get("Content-Length")
    return RemoteFile(name, url, int(size) if size else None, _validator(answer))


def _receive(offer: RemoteFile, part: Path, line: Downloads, advance: Callable[[int], None]) -> None:
    note = _note(part)
    noted = note.read_text().splitlines() if note.is_file() else []
    # the same date or tag on another server proves nothing
    version = noted[1] if len(noted) == 2 and noted[0] == offer.url else None
    have = _size(part)
    if version and (version, have) == (offer.validator, offer.size):
        # killed between the last byte and the new name
        return
    headers = {"Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with requests.get(offer.url, headers=headers, stream=True, timeout=line.patience.timeout_s) as answer:
        if answer.status_code == 416:
            forget(part, advance)
            raise _Again("HTTP 416, the file has become shorter")
        _expect_success(answer, offer.url)
        resumed = answer.status_code == 206
        if resumed:
            total = _total(answer, have)
            if total is None or _validator(answer) not in (None, version):
                forget(part, advance)
                raise _Again("the server sent another part than asked for")
        else:
            forget(part, advance)
            total = int(answer.headers["Content-Length"]) if "Content-Length" in answer.headers else None
            note.write_text("\n".join([offer.url, _validator(answer) or ""]))
        with part.open("ab") as file:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                advance(len(chunk))
                if line.stop.is_set():
                    raise Stopped
    if total is not None and _size(part) != total:
        found = _size(part)
        if found > total:
            forget(part, advance)
        raise _Again(f"{found} of {total} bytes came")


def _expect_success(answer: requests.Response, url: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in PASSING:
        raise _Again(f"HTTP {status}", _retry_after(answer))
    what = FINAL.get(status, "is refused")
    raise UserError(f"{url}: HTTP {status}, {what}\nCheck the address: {WHERE_ADDRESS}")


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
    # a weak tag promises equal meaning, not equal bytes
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _total(answer: requests.Response, start: int) -> int | None:
    """Size of the whole file that a partial answer names; None where it does not begin at `start`."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("Content-Range", "").strip())
    return int(match[3]) if match and int(match[1]) == start else None


def _note(part: Path) -> Path:
    """File that holds the address and the validator of the version that a part is of."""
    return part.with_name(f"{part.name}.version")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
