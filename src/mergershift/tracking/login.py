"""MLflow's login: user and password in the environment or in ~/.mlflow/credentials, where MLflow itself reads them."""

from __future__ import annotations

import os
from configparser import Error, RawConfigParser
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from mergershift.core.errors import UserError
from mergershift.core.files import atomic_file

USER, PASSWORD, TOKEN = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"
_SECTION = "mlflow"


@dataclass(frozen=True)
class Login:
    """A user of an MLflow server."""

    user: str
    password: str = field(repr=False)

    def use(self) -> None:
        """Let MLflow's client in this process log in as this user."""
        os.environ |= {USER: self.user, PASSWORD: self.password}


def credentials_file() -> Path:
    """Return the file in which MLflow looks for its login."""
    return Path("~/.mlflow/credentials").expanduser()


def from_environment() -> Login | None:
    """Return the login in the environment, which precedes that in the file; None if it is not complete."""
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    return Login(user, password) if user and password else None


def from_file() -> Login | None:
    """Return the login in MLflow's file; None if there is none. Raises UserError if the file cannot be read."""
    content = _read()
    section = dict(content[_SECTION]) if content.has_section(_SECTION) else {}
    user, password = (section.get(name.lower(), "").replace("%%", "%") for name in (USER, PASSWORD))
    return Login(user, password) if user and password else None


def store(login: Login) -> bool:
    """Write a login to MLflow's file, which then nobody else can read; returns whether that changed anything.

    Raises UserError for a user or password that the file cannot hold.
    """
    path = credentials_file()
    for value in (login.user, login.password):
        if value != value.strip() or any(mark in value for mark in "\r\n\0"):
            raise UserError(
                f"{path}: cannot hold a user or password with blanks at its ends or a line break.\n"
                f"Set {USER} and {PASSWORD} in the environment instead."
            )
    if from_file() == login and not path.stat().st_mode & 0o077:
        return False
    content = _read()
    if not content.has_section(_SECTION):
        content.add_section(_SECTION)
    # MLflow reads the file with interpolation, in which a percent sign is doubled.
    content[_SECTION][USER.lower()] = login.user.replace("%", "%%")
    content[_SECTION][PASSWORD.lower()] = login.password.replace("%", "%%")
    text = StringIO()
    content.write(text)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        descriptor = os.open(partial, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text.getvalue())
    return True


def _read() -> RawConfigParser:
    path = credentials_file()
    content = RawConfigParser()
    try:
        if path.exists():
            content.read_string(path.read_text())
    except (Error, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not a file that MLflow can read ({type(error).__name__}).\n"
            "Fix it by hand, or move it elsewhere."
        ) from error
    return content
