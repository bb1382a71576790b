"""The settings of a configuration that its choices of files in conf/ do not account for."""

from __future__ import annotations

from typing import Any

from mergershift.config.composition import Config, compose
from mergershift.core.errors import UserError
from mergershift.core.nesting import flattened

_OTHERWISE_KNOWN = ("seed", "archive", "tracking", "choices", "start")
"""Parts of the configuration that are left out: a training's name and record give them in another way, if at all."""


def varied(config: Config) -> dict[str, Any]:
    """Return the settings that differ from what the chosen files in conf/ compose to, by their dotted keys.

    There are none if those files do not compose any more, as after the removal of one that a resumed training names.
    """
    chosen = [f"{group}={name}" for group, name in config.choices.items() if group != "tuning"]
    try:
        usual = dict(flattened(compose(chosen).dump()))
    except UserError:
        return {}
    return {
        key: value
        for key, value in flattened(config.dump())
        if key.partition(".")[0] not in _OTHERWISE_KNOWN and usual.get(key, usual) != value
    }
