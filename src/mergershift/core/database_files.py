"""Addresses of SQLite databases, in which a path may contain any character."""

from __future__ import annotations

from pathlib import Path

SQLITE = "sqlite:///"


def sqlite_address(path: Path) -> str:
    """Return SQLAlchemy's address of an SQLite file.

    Only a path with `?` or `%` is percent-encoded, since MLflow takes whatever follows `sqlite:///` for a path.
    """
    from sqlalchemy.engine import URL, make_url

    plain = f"{SQLITE}{path}"
    if make_url(plain).database == str(path):
        return plain
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_path(address: str) -> Path | None:
    """Return the SQLite file at an address, which may be relative; None for other databases and servers."""
    from sqlalchemy.engine import make_url

    if not address.startswith(SQLITE):
        return None
    return Path(make_url(address).database or "")
