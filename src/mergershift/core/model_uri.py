"""Addresses of registered models: models:/NAME@ALIAS and models:/NAME/VERSION."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

from mergershift.core.errors import UserError

SCHEME = "models:/"
_PATTERN = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))")


class ModelUri(NamedTuple):
    """The parts of such an address, of which either the version or the alias is given."""

    name: str
    version: int | None
    alias: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse an address; raises UserError if it is not one."""
        parts = _PATTERN.fullmatch(text)
        if parts is None:
            raise UserError(
                f"'{text}' is not a model URI.\nExpected models:/NAME@ALIAS or models:/NAME/VERSION."
            )
        return cls(parts["name"], int(parts["version"]) if parts["version"] else None, parts["alias"])
