"""What takes long to compute and depends on nothing but its arguments, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress

from platformdirs import user_cache_path

from mergershift.core.files import atomic_file

_DIGEST = 32
"""Length in bytes of the digest in front of the content."""


def kept(arguments: Sequence[str], compute: Callable[[], bytes]) -> bytes:
    """Return what an earlier call with these arguments has computed on this machine, or compute it.

    A file that is damaged is replaced. Where there is no folder that can be written to, everything is computed anew.
    """
    try:
        folder = user_cache_path("mergershift", appauthor=False)
    except RuntimeError:  # a user without a home folder
        return compute()
    if not folder.is_absolute():  # the same, by an earlier version of the library
        return compute()
    path = folder / hashlib.sha256("\0".join(arguments).encode()).hexdigest()
    with suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]:
            return content[_DIGEST:]
    computed = compute()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_file(path) as file:
            file.write_bytes(hashlib.sha256(computed).digest() + computed)
    return computed
