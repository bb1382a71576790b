"""Between the configuration and what Optuna suggests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial

from mergershift.config import Config
from mergershift.config.schema import RangeConfig
from mergershift.core.errors import UserError, nearest

Values = dict[str, Any]
"""By key of the configuration; where a range has choices the name of one."""


def suggest(trial: Trial, ranges: Mapping[str, RangeConfig]) -> Values:
    """Let the sampler draw a value for each key."""
    values: Values = {}
    for key, each in ranges.items():
        if each.choices is not None:
            values[key] = trial.suggest_categorical(key, list(each.choices))
        elif isinstance(each.low, int) and isinstance(each.high, int):
            values[key] = trial.suggest_int(key, each.low, each.high, log=each.log)
        else:
            assert each.low is not None
            assert each.high is not None
            values[key] = trial.suggest_float(key, each.low, each.high, log=each.log)
    return values


def resolved(values: Mapping[str, Any], ranges: Mapping[str, RangeConfig]) -> dict[str, Any]:
    """The values themselves in place of their choices' names."""
    choices = {key: each.choices for key, each in ranges.items()}
    return {key: named[value] if (named := choices[key]) else value for key, value in values.items()}


def applied(config: Config, values: Mapping[str, Any]) -> Config:
    """The configuration with other values at some keys; raises UserError for a key that it does not have."""
    plain = config.model_dump(mode="json")
    for key, value in values.items():
        node, name = _place(plain, key)
        node[name] = copy.deepcopy(value)
    return Config.model_validate(plain)


def current(config: Config, ranges: Mapping[str, RangeConfig]) -> Values | None:
    """What the configuration holds at the searched keys; None where a value lies outside its range."""
    plain = config.model_dump(mode="json")
    values: Values = {}
    for key, each in ranges.items():
        node, name = _place(plain, key)
        value = node[name]
        if each.choices is not None:
            value = next((label for label, choice in each.choices.items() if choice == value), None)
            if value is None:
                return None
        elif not each.low <= value <= each.high:
            return None
        values[key] = value
    return values


def _place(plain: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    node: Any = plain
    *way, name = key.split(".")
    for part in way:
        node = node.get(part, {}) if isinstance(node, dict) else {}
    if not isinstance(node, dict) or name not in node:
        known = [".".join([*way, each]) for each in node] if isinstance(node, dict) else []
        raise UserError(
            f"tuning.space: the configuration has no key {key}"
            + (f" (nearest: {nearest(key, known)})" if known else "")
            + f".\nMend it in conf/tuning/, or leave it out: tuning.space.{key}=null."
        )
    return node, name
