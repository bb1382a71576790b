"""Addresses of servers and databases as they may be shown and stored."""

from __future__ import annotations

import re

# After a scheme's two slashes, not after a file's three. A password may hold an @, and hides no slash.
_CREDENTIALS = re.compile(r"(?<!/)//[^/\s]*@")


def public(text: str) -> str:
    """The text, an address or one with addresses in it, without the users and passwords of these."""
    return _CREDENTIALS.sub("//", text)
