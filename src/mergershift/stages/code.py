"""The stage before all trainings: are the cells those of the study, and which source files make up each method?"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mergershift.cells.layout import CODE
from mergershift.config.cells_file import CELLS_FILE, update_cells
from mergershift.config.study import read_study
from mergershift.config.targets import is_allowed
from mergershift.core.checkout import is_temporary, root
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory
from mergershift.core.reading import DamagedFile
from mergershift.core.yaml_files import read_yaml

GROUPS = {"adaptation": "mergershift.adaptation", "network": "mergershift.networks"}
"""Group in conf/ -> the package with its code; imports are followed within that package."""


def require_cells() -> None:
    """Raise UserError if conf/cells.yaml, by which DVC knows the cells, was not up to date; it then is.

    DVC has read the file before it runs this stage, so only the next command runs the right cells.
    """
    changed = update_cells(read_study())
    if changed and is_temporary():
        raise UserError(
            f"{CELLS_FILE}: not the cells of conf/study.yaml, which `dvc exp run --temp` and --queue cannot change.\n"
            "Edit conf/study.yaml itself, run `mergershift study cells`, which updates conf/cells.yaml, and start the "
            "experiment again."
        )
    if changed:
        raise UserError(
            f"conf/study.yaml was edited: {changed}.\nRun the same command again: it runs these cells."
        )


def write_code() -> None:
    """Write outputs/code/<group>/<name>.json for every method and network in conf/: its files and their SHA-256.

    DVC runs this stage whenever any of that code changes, but the stages that depend on a list only if the list
    itself has changed.
    """
    with atomic_directory(root() / CODE) as folder:
        for group, package in GROUPS.items():
            (folder / group).mkdir()
            for path in sorted((root() / "conf" / group).glob("*.yaml")):
                text = json.dumps(_code_of(path, package, {path}), indent=2) + "\n"
                (folder / group / f"{path.stem}.json").write_text(text)


def _code_of(path: Path, package: str, seen: set[Path]) -> dict[str, str]:
    """Return the hash of every module's file, or what is wrong with the module or configuration.

    Problems are recorded, not raised: the training that needs the module reports them.

    Args:
        path: file in conf/.
        package: package in which imports are followed.
        seen: files that need not be followed again, to which this function adds.
    """
    try:
        document = read_yaml(path, dict[str, Any], "")
    except DamagedFile:
        return {"damaged": hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()}
    files: dict[str, str] = {}
    for parent in _parents(document):
        base = path.with_name(f"{parent}.yaml")
        if base.is_file() and base not in seen:
            seen.add(base)
            files[f"conf/{path.parent.name}/{base.name}"] = hashlib.sha256(base.read_bytes()).hexdigest()
            files |= _code_of(base, package, seen)
    # To look for a module imports the packages around it, which must not happen to one that is not allowed.
    waiting = [target.rpartition(".")[0] for target in _targets(document) if is_allowed(target)]
    while waiting:
        module = waiting.pop()
        if module in files:
            continue
        source = _source(module)
        files[module] = "missing" if source is None else hashlib.sha256(source.read_bytes()).hexdigest()
        if source is not None and module.startswith(f"{package}."):
            waiting += [name for name in _imports(source) if name.startswith(f"{package}.") and _source(name)]
    return dict(sorted(files.items()))


def _parents(document: dict[str, Any]) -> list[str]:
    """Return the names of the configurations in the same group from which this one is derived."""
    defaults = document.get("defaults")
    names = defaults if isinstance(defaults, list) else []
    return [name for name in names if isinstance(name, str) and name != "_self_"]


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _source(module: str) -> Path | None:
    """Return the file of a module, or None if there is none.

    A module of mergershift is looked up in this checkout, which may be a worktree of the installed one.
    """
    if module.startswith("mergershift."):
        inside = root() / "src" / Path(*module.split("."))
        found = (path for path in (inside.with_suffix(".py"), inside / "__init__.py") if path.is_file())
        return next(found, None)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def _imports(source: Path) -> Iterator[str]:
    try:
        tree = ast.parse(source.read_text())
    except (SyntaxError, ValueError):  # the latter for bytes that are not text
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
