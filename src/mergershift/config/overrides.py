"""Overrides of the configuration, KEY=VALUE: checked before Hydra reads them, and faults worded in a user's terms."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from pydantic import ValidationError

from mergershift.core.errors import UserError, nearest, similar
from mergershift.core.reading import finding_of, place_of


def check_overrides(conf: Path, overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Return the group and name of every file in conf/ that the overrides choose.

    Raises UserError if one cannot be read, gives several values or chooses an unknown file: Hydra's own errors for
    these are its grammar's, and name no alternatives.
    """
    groups = _groups(conf)
    chosen = []
    for override in overrides:
        key, equals, value = override.partition("=")
        name = _plain(key)
        if not equals or not name:
            raise UserError(
                f"'{override}' is not an override.\nExpected KEY=VALUE, for instance adaptation=mmd."
            )
        if re.split(r"[./@]", name)[0] in ("hydra", "choices"):
            raise UserError(f"{override}: {name} is not a setting of mergershift.\nRemove it.")
        _require_one_value(override)
        if name in groups:
            options = _option_names(conf, name)
            if value not in options:
                raise UserError(
                    f"{key}={value}: conf/{name}/ has no '{value}'.\nNearest: {nearest(value, options)}."
                )
            chosen.append((name, value))
    return chosen


def _require_one_value(override: str) -> None:
    key, _, value = override.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise UserError(
            f"{override}: its value cannot be read.\n"
            f"Expected a number, a word or a list such as [1,2]; quote anything else: \"{key}='...'\"."
        ) from error
    if parsed.is_sweep_override():
        example = f"a list is written {key}=[{value}]" if "(" not in value else "a list is written [1,2]"
        raise UserError(f"{override}: found several values, expected one.\nChoose one of them; {example}.")


def unknown_key(conf: Path, composed: DictConfig, overrides: Sequence[str]) -> UserError | None:
    """Return the error for the first override of a key that the configuration lacks; None if it has all of them."""
    keys = [*_known_keys(composed), *_groups(conf)]
    for override in overrides:
        key = _plain(override.partition("=")[0])
        if key not in keys:
            close = _named(key, keys)
            found = ", ".join(f"'{name}'" for name in close) if close else nearest(key, keys)
            return UserError(f"{override}: unknown configuration key '{key}'.\nNearest: {found}.")
    return None


def overrides_for(
    conf: Path, composed: DictConfig, option: str, value: str | None, *, exact: bool
) -> list[str]:
    """Return the overrides that somebody may have meant who wrote ``--option value``.

    For ``--epochs 3`` that is ``training.epochs=3``, for ``--gpu`` it is ``trainer=gpu``. If not `exact`, the option
    may also be a misspelt setting.
    """
    name = option.lstrip("-").replace("-", "_")
    options = [
        f"{group}={name}"
        for group in _groups(conf)
        if group in composed and name in _option_names(conf, group)
    ]
    given = "VALUE" if value is None else value
    keys = _named(name, [*_known_keys(composed), *_groups(conf)], exact=exact)
    return options or [f"{key}={given}" for key in keys]


def _named(name: str, keys: Iterable[str], *, exact: bool = False) -> list[str]:
    """Return up to three keys whose last part is `name`, or else, if not `exact`, is similar to it."""
    by_last: dict[str, list[str]] = {}
    for key in keys:
        by_last.setdefault(key.rpartition(".")[2], []).append(key)
    last = name.rpartition(".")[2]
    close = [] if exact else similar(last, by_last)
    found = by_last.get(last) or [key for match in close for key in by_last[match]]
    return list(dict.fromkeys(found))[:3]


def fault_of_value(error: ValidationError, overrides: Sequence[str], choices: Mapping[str, str]) -> UserError:
    """Return the error for the first value that a configuration does not accept.

    It names the override that set the value, or else the file in conf/.
    """
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    override = next((text for text in reversed(overrides) if _sets(text, where, choices)), None)
    place = override or place_of(problem["loc"])
    if problem["type"] == "extra_forbidden":
        return UserError(
            f"{place}: not a known configuration key.\nRemove it, or check its spelling in conf/."
        )
    finding = finding_of(error)
    if override is not None:
        return UserError(f"{override}: {finding}.\nFix the override.")
    group = str(problem["loc"][0]) if problem["loc"] else ""
    file = f"conf/{group}/{choices[group]}.yaml" if group in choices else "the file in conf/"
    return UserError(f"{f'{place}: ' if place else ''}{finding}.\nFix the override or {file}.")


def _sets(override: str, where: str, choices: Mapping[str, str]) -> bool:
    key = _plain(override.partition("=")[0])
    return key not in choices and (key == where or where.startswith(f"{key}."))


def _plain(key: str) -> str:
    return key.lstrip("+~").strip()


def _groups(conf: Path) -> list[str]:
    return sorted(path.name for path in conf.iterdir() if path.is_dir())


def _option_names(conf: Path, group: str) -> list[str]:
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def _known_keys(node: Any, prefix: str = "") -> Iterable[str]:
    if isinstance(node, DictConfig):
        for key in map(str, node):
            yield f"{prefix}{key}"
            yield from _known_keys(node._get_node(key), f"{prefix}{key}.")
