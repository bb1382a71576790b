"""DVC's lock file and parameter files, parsed anew only where they have changed.

DVC parses the whole of dvc.lock, in which a study of 300 cells has a hundred thousand lines, whenever a command starts,
and parses and writes all of it again for every stage that it runs; and it parses each parameter file once for every
stage that depends on it. Inside `remember_parsed`, DVC parses only text that it has not parsed before, with its own
parser, and writes only the entries that change. What has been parsed is kept in .dvc/tmp/, by the digest of the text.

The bytes written are those that DVC would write. A lock file that does not have DVC's layout, for instance one with
the marks of a merge conflict, is left to DVC.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dvc
import ruamel.yaml
from dvc import dvcfile
from dvc.utils import strictyaml
from dvc.utils.serialize import _yaml as serialize

from mergershift.core.files import write_text

STORE = ".dvc/tmp/parsed.json"
"""File of the checkout with what has been parsed: JSON by the digest of the text."""
_HEAD = "schema: '2.0'\nstages:\n"
_ENTRY = re.compile(r"^(?=  \S)", re.MULTILINE)
"""Start of a stage's entry: a line that is indented by two spaces."""
_OTHER = re.compile(r"^ ?\S", re.MULTILINE)
"""Start of a line that belongs to no stage."""
_VERSIONS = f"DVC {dvc.__version__}, ruamel.yaml {ruamel.yaml.__version__}"
_parse, _modify = serialize.parse_yaml, serialize.modify_yaml


class _Parsed:
    """What has been parsed, in this process or by an earlier one in the same checkout."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        self._used: dict[str, str] = {}
        with suppress(OSError, ValueError):
            stored = json.loads(path.read_bytes())
            if isinstance(stored, dict) and stored.pop("versions", "") == _VERSIONS:
                self._known = stored

    def parse(self, text: str, path: str) -> Any:
        """Return what DVC makes of a YAML text; raises what DVC raises."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        known = self._used.get(digest) or self._known.get(digest)
        if known is not None:
            self._used[digest] = known
            return json.loads(known)
        content = _parse(text, path)
        with suppress(TypeError, ValueError):  # as for a date, which JSON cannot represent
            known = json.dumps(content)
            if json.loads(known) == content:
                self._used[digest] = known
        return content

    def entries(self, text: str, path: str) -> list[tuple[str, Any, str]] | None:
        """Return the name, content and text of each stage's entry in a lock file.

        None if the file does not have the layout in which DVC writes it.
        """
        head, rest = text[: len(_HEAD)], text[len(_HEAD) :]
        if head != _HEAD or not rest.endswith("\n") or _OTHER.search(rest):
            return None
        found: dict[str, tuple[str, Any, str]] = {}
        for entry in filter(None, _ENTRY.split(rest)):
            try:
                content = self.parse(entry, path)
            except Exception:  # DVC is to say what is wrong with the whole file
                return None
            if not isinstance(content, dict) or len(content) != 1 or not content.keys().isdisjoint(found):
                return None
            ((name, stage),) = content.items()
            found[name] = name, stage, entry
        return list(found.values())

    def store(self) -> None:
        """Keep for later processes what this one has used; the last one to end wins."""
        if not self._used.keys() <= self._known.keys() and self._path.parent.is_dir():
            with suppress(OSError):  # as on a full disk: it is parsed again
                write_text(self._path, json.dumps({"versions": _VERSIONS, **self._used}))


@contextmanager
def remember_parsed(checkout: Path) -> Iterator[None]:
    """Let DVC parse and write only what has changed in `checkout`, inside this context and in this process."""
    parsed = _Parsed(checkout / STORE)

    def parse(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return _parse(text, path, typ=typ)
        entries = parsed.entries(text, path) if _is_lock(path) else None
        if entries is None:
            return parsed.parse(text, path)
        return {"schema": "2.0", "stages": {name: stage for name, stage, _ in entries}}

    @contextmanager
    def modify(path: str, fs: Any = None) -> Iterator[Any]:
        known = _is_lock(path) and os.path.isfile(path)
        entries = parsed.entries(Path(path).read_text(), path) if known else None
        if entries is None:
            with _modify(path, fs=fs) as content:
                yield content
            return
        content = {"schema": "2.0", "stages": {name: stage for name, stage, _ in entries}}
        yield content
        write_text(Path(path), _updated(content, {id(stage): text for _, stage, text in entries}))

    before = serialize.parse_yaml, strictyaml.parse_yaml, dvcfile.modify_yaml
    serialize.parse_yaml = strictyaml.parse_yaml = parse
    dvcfile.modify_yaml = modify
    try:
        yield
    finally:
        serialize.parse_yaml, strictyaml.parse_yaml, dvcfile.modify_yaml = before
        parsed.store()


def _updated(content: dict[str, Any], texts: dict[int, str]) -> str:
    """Text of a lock file, with those of the entries that DVC has not replaced, by the identity of their contents."""
    if content.keys() != {"schema", "stages"}:
        return _dumped(content)
    stages = content["stages"].items()
    head = len("stages:\n")
    parts = [texts.get(id(stage)) or _dumped({"stages": {name: stage}})[head:] for name, stage in stages]
    return _HEAD + "".join(parts) if parts else _dumped(content)


def _dumped(content: dict[str, Any]) -> str:
    text = io.StringIO()
    serialize._dump(content, text)
    return text.getvalue()


def _is_lock(path: str | os.PathLike[str]) -> bool:
    return os.path.basename(path) == "dvc.lock"
