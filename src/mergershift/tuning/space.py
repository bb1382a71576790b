"""Translate between the configuration and the values that Optuna suggests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial
from pydantic import ValidationError

from mergershift.config import Config
from mergershift.config.tuning_schema import RangeConfig
from mergershift.core.errors import UserError, nearest
from mergershift.core.reading import fault_of

Values = dict[str, Any]
"""Value by configuration key; for a range with choices, the value is the name of a choice."""


def suggest(trial: Trial, ranges: Mapping[str, RangeConfig]) -> Values:
    """Draw a value for each searched key with the sampler of the trial's study."""
    values: Values = {}
    for key, searched in ranges.items():
        if searched.choices is not None:
            values[key] = trial.suggest_categorical(key, list(searched.choices))
        elif isinstance(searched.low, int) and isinstance(searched.high, int):
            values[key] = trial.suggest_int(key, searched.low, searched.high, log=searched.log)
        else:
            assert searched.low is not None
            assert searched.high is not None
            values[key] = trial.suggest_float(key, searched.low, searched.high, log=searched.log)
    return values


def resolved(values: Mapping[str, Any], ranges: Mapping[str, RangeConfig]) -> dict[str, Any]:
    """Replace the names of choices by the values that they stand for."""
    choices = {key: searched.choices for key, searched in ranges.items()}
    return {key: named[value] if (named := choices[key]) else value for key, value in values.items()}


def applied(config: Config, values: Mapping[str, Any]) -> Config:
    """Copy of the configuration with `values` set at their keys.

    Raises UserError if a key does not exist, or if the configuration does not accept a value.
    """
    plain = config.model_dump(mode="json")
    for key, value in values.items():
        node, name = _find(plain, key)
        node[name] = copy.deepcopy(value)
    try:
        return Config.model_validate(plain)
    except ValidationError as error:
        raise UserError(f"tuning.space: {fault_of(error)}.\nFix the range in conf/tuning/.") from error


def current(config: Config, ranges: Mapping[str, RangeConfig]) -> Values | None:
    """Values of the configuration at the searched keys, or None if one of them is outside its range.

    Raises UserError if a searched key does not exist in the configuration, or is no number but has a numeric range.
    """
    plain = config.model_dump(mode="json")
    values: Values = {}
    for key, searched in ranges.items():
        node, name = _find(plain, key)
        value = node[name]
        if searched.choices is not None:
            value = next((label for label, choice in searched.choices.items() if choice == value), None)
            if value is None:
                return None
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise UserError(
                f"tuning.space: {key} is {value!r}, expected a number, since its range has low and high.\n"
                "Give its range as choices in conf/tuning/."
            )
        else:
            assert searched.low is not None
            assert searched.high is not None
            if not searched.low <= value <= searched.high:
                return None
        values[key] = value
    return values


def _find(plain: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The innermost mapping that a dotted key leads to, and the key's last part."""
    node: Any = plain
    *path, name = key.split(".")
    for part in path:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    if not isinstance(node, dict) or name not in node:
        known = [".".join([*path, other]) for other in node] if isinstance(node, dict) else []
        raise UserError(
            f"tuning.space: the configuration has no key {key}"
            + (f" (nearest: {nearest(key, known)})" if known else "")
            + f".\nFix the key in conf/tuning/, or leave it out: tuning.space.{key}=null."
        )
    return node, name
