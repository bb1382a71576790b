"""Reading of YAML files, whose aliases are bounded before anything follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml

from mergershift.core.reading import CUT_OFF, DamagedFile, checked, damaged, read_text

T = TypeVar("T")

LARGEST = 2**20
"""Largest size of a configuration file in bytes."""
_DEEPEST = 40
"""Deepest nesting; libyaml overflows its stack, and Python's recursion ends, at a few hundred to thousand levels."""
_MOST_REPEATED = 10_000
"""Largest number of values that aliases may repeat: ten lines of them can stand for billions."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, kind: type[T], remedy: str, largest: int = LARGEST, *, written: bool = False) -> T:
    """Read a YAML file as `kind`, any type that pydantic validates.

    If mergershift has `written` the file, its last line has to have an end, without which the file was cut off.
    Raises DamagedFile if it is anything else, has more than `largest` bytes, or is not YAML that `sound_yaml` accepts.
    """
    text = sound_yaml(path, remedy, largest)
    if written and text and not text.endswith("\n"):
        raise damaged(path, CUT_OFF, remedy)
    try:
        content = yaml.load(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, f"not YAML ({_problem(error)})", remedy) from error
    try:
        return checked(path, content, kind, remedy)
    except DamagedFile as error:
        if content is None:
            raise damaged(path, "empty", remedy) from error
        raise


def sound_yaml(path: Path, remedy: str, largest: int = LARGEST) -> str:
    """Return the text of a YAML file that every parser can read within bounded time and memory.

    Raises DamagedFile if the file cannot be read or is not YAML, is nested too deeply, or repeats itself by aliases
    without end or many times.
    """
    text = read_text(path, remedy, largest)
    try:
        _check(text)
    except (yaml.YAMLError, ValueError) as error:
        raise damaged(path, f"not YAML ({_problem(error)})", remedy) from error
    return text


def _check(text: str) -> None:
    """Raise ValueError or YAMLError if the nesting or the aliases of a YAML text are out of bounds."""
    sizes: dict[str, int] = {}  # number of values below each anchor, with aliases followed
    open_nodes: list[tuple[str | None, int]] = []
    total = repeated = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ValueError(f"*{event.anchor} is inside of the value that it repeats")
            size = sizes.get(event.anchor or "", 0)
            repeated += size
            total += size
            if repeated > _MOST_REPEATED:
                raise ValueError(f"its aliases repeat more than {_MOST_REPEATED} values")
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            total += 1
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > _DEEPEST:
                raise ValueError(f"nested more than {_DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before + 1


def _problem(error: Exception) -> str:
    if "maximum nesting depth" in str(
        error
    ):  # the parser's own limit, which it may reach before it reports an event
        return f"nested more than {_DEEPEST} levels deep"
    return " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
