"""A server for archives on the loopback interface, which can misbehave on request."""

from __future__ import annotations

import email.utils
import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Misdeed = Callable[["Handler", bytes], None]
"""Responds to a GET in its own way, given the bytes that a correct response would send."""


@dataclass
class Archive:
    """The files that are served, the behaviour of the server and the requests so far."""

    files: dict[str, bytes]
    ranges: bool = True
    validator: str | None = "etag"
    heads: bool = True
    pages: bool = False
    """Whether a web page with status 200 is sent in place of files that are not there."""
    absent: int = 404
    """Status of the response for files that are not there."""
    misdeeds: dict[str, list[Misdeed]] = field(default_factory=lambda: defaultdict(list))
    """Misbehaviours by file name; every GET uses up one."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Method, file name and Range header of each request."""
    closing: threading.Event = field(default_factory=threading.Event)
    address: str = ""
    _tags: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def gets(self, name: str) -> list[str | None]:
        """Return the Range header of each GET of a file."""
        return [asked_range for method, what, asked_range in self.asked if method == "GET" and what == name]

    def tag(self, name: str) -> str:
        content = self.files[name]
        if self._tags.get(name, (None, ""))[0] is not content:
            self._tags[name] = content, f'"{hashlib.md5(content).hexdigest()}"'
        return self._tags[name][1]


class Handler(BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    def _validators(self) -> dict[str, str]:
        if self.archive.validator == "etag":
            return {"ETag": self.archive.tag(self.name)}
        if self.archive.validator == "date":
            return {"Last-Modified": email.utils.formatdate(1_700_000_000, usegmt=True)}
        return {}

    def head(self, status: int, length: int, **headers: str) -> None:
        """Send the status and headers of a response."""
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for key, value in (self._validators() if status in (200, 206) else {}).items():
            self.send_header(key, value)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def not_there(self) -> None:
        """Respond to the request for a file that does not exist."""
        if not self.archive.pages:
            self.head(self.archive.absent, 0)
            return
        page = b"<html>This page does not exist.</html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    def do_HEAD(self) -> None:
        self.archive.asked.append(("HEAD", self.name, None))
        content = self.archive.files.get(self.name)
        if not self.archive.heads:
            self.head(405, 0)
        elif content is None:
            self.not_there()
        else:
            self.head(200, len(content))

    def do_GET(self) -> None:
        asked_range = self.headers.get("Range")
        self.archive.asked.append(("GET", self.name, asked_range))
        content = self.archive.files.get(self.name)
        if content is None:
            self.not_there()
            return
        if self.archive.misdeeds[self.name]:
            self.archive.misdeeds[self.name].pop(0)(self, content)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked_range or "")
        same = self.headers.get("If-Range") in (None, *self._validators().values())
        if match and self.archive.ranges and same:
            start, stop = int(match[1]), min(int(match[2] or len(content)) + 1, len(content))
            self.head(206, stop - start, Content_Range=f"bytes {start}-{stop - 1}/{len(content)}")
            self.wfile.write(content[start:stop])
        else:
            self.head(200, len(content))
            self.wfile.write(content)


def truncate(at: int) -> Misdeed:
    """Announce the whole file and close the connection after some bytes."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.head(200, len(content))
        handler.wfile.write(content[:at])
        handler.close_connection = True

    return answer


def stall(at: int) -> Misdeed:
    """Announce the whole file and fall silent after some bytes."""

    def answer(handler: Handler, content: bytes) -> None:
        handler.head(200, len(content))
        handler.wfile.write(content[:at])
        handler.wfile.flush()
        handler.archive.closing.wait(20)
        handler.close_connection = True

    return answer


def status(code: int, **headers: str) -> Misdeed:
    """Respond with only a status."""
    return lambda handler, _: handler.head(code, 0, **headers)


def instead(content: bytes) -> Misdeed:
    """Send other content in place of the file."""

    def answer(handler: Handler, _: bytes) -> None:
        handler.head(200, len(content))
        handler.wfile.write(content)

    return answer


def wrong_part(handler: Handler, content: bytes) -> None:
    """Respond to any range with the first half of the file."""
    half = len(content) // 2
    handler.head(206, half, Content_Range=f"bytes 0-{half - 1}/{len(content)}")
    handler.wfile.write(content[:half])


def rest_regardless(handler: Handler, content: bytes) -> None:
    """Respond to a range with the rest of the current version, whichever version was requested."""
    start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    last = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.head(206, len(content) - start, Content_Range=last)
    handler.wfile.write(content[start:])


@contextmanager
def serving(folder: Path) -> Iterator[Archive]:
    """Serve the files of a folder on the loopback interface."""
    archive = Archive({path.name: path.read_bytes() for path in folder.iterdir()})
    handler = type("Bound", (Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    # Some tests are about clients that disconnect during a download.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    archive.address = f"http://127.0.0.1:{server.server_port}/hlsps/deepmerge"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        archive.closing.set()
        server.shutdown()
        server.server_close()
