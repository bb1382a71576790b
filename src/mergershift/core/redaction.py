"""Removal of credentials from addresses before they are displayed or stored."""

from __future__ import annotations

import re

# The two slashes follow a scheme; a file address has three. A password may contain an @ but no slash.
_CREDENTIALS = re.compile(r"(?<!/)//[^/\s]*@")
_QUERY = re.compile(r"(?<=[?&])password=[^&\s]*")


def public(text: str) -> str:
    """Return the text without the users and passwords of the addresses in it."""
    return _QUERY.sub("password=...", _CREDENTIALS.sub("//", text))
