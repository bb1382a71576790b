"""Checks of the files in conf/ that a composition reads, before Hydra reads them.

Hydra's own readers raise all kinds of errors on damaged files, follow aliases without end, and do not name the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mergershift.core.reading import damaged, shortened
from mergershift.core.yaml_files import read_yaml

_REMEDY = "Fix the file."


def check_files(conf: Path, chosen: Sequence[tuple[str, str]]) -> None:
    """Check conf/config.yaml, the `chosen` files (group and name), and the files that their defaults name.

    Raises UserError, with the name of the file, if one of them cannot be read, is not a mapping, or names itself
    among its defaults, directly or through other files. Files that do not exist are left to Hydra.
    """
    waiting = [conf / "config.yaml", *(conf / group / f"{name}.yaml" for group, name in chosen)]
    done: set[Path] = set()
    while waiting:
        waiting += _check(conf, waiting.pop(), (), done)


def _check(conf: Path, path: Path, above: tuple[Path, ...], done: set[Path]) -> list[Path]:
    """Check a file and those that its defaults include; return those that they only override."""
    if path in above:
        chain = " -> ".join(str(file.relative_to(conf)) for file in (*above[above.index(path) :], path))
        raise damaged(path, f"its defaults lead back to itself ({chain})", _REMEDY)
    if path in done or not path.exists():
        return []
    content = read_yaml(path, dict[str, Any] | None, _REMEDY)  # type: ignore[arg-type]
    # An experiment may consist of comments alone.
    if content is None and (path.parent.name != "experiment" or not path.stat().st_size):
        raise damaged(path, "empty, expected settings", _REMEDY)
    overridden = []
    for included, override in _defaults(conf, path, (content or {}).get("defaults") or []):
        if override:
            overridden.append(included)
        else:
            overridden += _check(conf, included, (*above, path), done)
    done.add(path)
    return overridden


def _defaults(conf: Path, path: Path, defaults: Any) -> Iterator[tuple[Path, bool]]:
    """Yield the files that a list of defaults names, and whether it only overrides a choice made elsewhere."""
    if not isinstance(defaults, list):
        raise damaged(path, f"defaults: found {shortened(defaults)}, expected a list", _REMEDY)
    for entry in defaults:
        key, value = next(iter(entry.items())) if isinstance(entry, dict) and entry else ("", entry)
        words = str(key).split()
        group = Path(words[-1].partition("@")[0] if words else "")
        folder = conf / str(group).lstrip("/") if str(group).startswith("/") else path.parent / group
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str | None):
                raise damaged(path, f"defaults: found {shortened(entry)}, expected names of files", _REMEDY)
            if name is None or name == "_self_":
                continue
            stem = name.partition("@")[0].removesuffix(".yaml")
            # The value of an interpolation is known only to Hydra.
            files = folder.glob("*.yaml") if "${" in name else [folder / f"{stem}.yaml"]
            yield from ((file, "override" in words) for file in files)
