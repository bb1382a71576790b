"""Settings of a team's server, from the environment or from a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy.exc import ArgumentError

from mergershift.core.database_files import sqlite_address, sqlite_path
from mergershift.core.errors import UserError
from mergershift.core.redaction import public
from mergershift.tracking.database import is_database, parsed
from mergershift.tracking.mlflow_server import host_names

DATABASE = "MLFLOW_BACKEND_STORE_URI"
ACCOUNTS = "MERGERSHIFT_ACCOUNTS_URI"
ARTIFACTS = "MLFLOW_ARTIFACTS_DESTINATION"
SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
ADMIN = "MLFLOW_AUTH_ADMIN_USERNAME"
PASSWORD = "MLFLOW_AUTH_ADMIN_PASSWORD"
HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
FILE = "server.env"
LEAST_PASSWORD = 12
"""Fewest characters that MLflow accepts in a password (`mlflow.utils.validation._validate_password`)."""
_FORMER_DEFAULT = "password1234"
"""MLflow's administrators had this password until they chose another one; its server refuses it today."""
_HELP = (
    "`mergershift server --init FOLDER` writes a file with all settings and random passwords for --settings"
)
_EXAMPLES = "sqlite:////FOLDER/mlflow.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True)
class ServerSettings:
    """What a team's server needs to start."""

    database: str
    """Address of the database of runs and models."""
    accounts: str
    """Address of the database of users and their roles."""
    artifacts: str
    """Folder or s3:// address of the files of runs and models, which the server passes on."""
    secret_key: str
    admin: str
    password: str
    allowed_hosts: tuple[str, ...] = ()


def read_settings(
    file: Path | None,
    *,
    database: str | None = None,
    accounts: str | None = None,
    artifacts: str | None = None,
    allowed_hosts: tuple[str, ...] = (),
) -> ServerSettings:
    """Collect the settings: what is given takes precedence over the environment, and that over the file.

    Raises UserError for a setting that is missing or cannot be used, and for a file or an option that gives away a
    password.
    """
    for option, address in (("--database", database), ("--accounts", accounts)):
        _refuse_password(option, address)
    known = {**(_read_file(file) if file else {}), **os.environ}
    at = _absolute(database or known.get(DATABASE) or "", DATABASE, "--database")
    beside = _absolute(accounts or known.get(ACCOUNTS) or _beside(at), ACCOUNTS, "--accounts")
    if beside == at:
        raise UserError(
            f"{public(at)}: the accounts need a database of their own.\nSet {ACCOUNTS} or --accounts to another one."
        )
    hosts = allowed_hosts or host_names(known.get(HOSTS))
    settings = ServerSettings(
        at, beside, _store(artifacts or known.get(ARTIFACTS)), *_secrets(known), allowed_hosts=hosts
    )
    _require_packages(settings)
    return settings


def write_settings(folder: Path) -> Path:
    """Write a file with new random passwords, which only its owner can read, for a server with its data in `folder`.

    Raises UserError if the file exists already, since the accounts' database knows only the passwords in that one, and
    if it cannot be written.
    """
    folder = folder.resolve()
    path = folder / FILE
    lines = [
        "# Settings of `mergershift server --settings FILE`. Keep this file secret: it holds the passwords.",
        f"{DATABASE}={sqlite_address(folder / 'mlflow.db')}",
        f"{ACCOUNTS}={sqlite_address(folder / 'accounts.db')}",
        f"{ARTIFACTS}={folder / 'artifacts'}",
        f"{SECRET_KEY}={secrets.token_hex(32)}",
        f"{ADMIN}=admin",
        "# Valid until it is changed: mergershift team user admin --new-password",
        f"{PASSWORD}={secrets.token_urlsafe(18)}",
        "# Names by which browsers and trainings reach the server, separated by commas, in addition to its own.",
        f"{HOSTS}=",
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UserError(
            f"{path} exists, and its passwords are those of the server.\n"
            "Keep it, or choose another folder for another server."
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}).\n"
            "Choose a folder that is yours, or let root create this one and make you its owner."
        ) from error
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def _read_file(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: the settings cannot be read ({getattr(error, 'strerror', None) or error}).\n{_HELP}."
        ) from error
    if mode & 0o077:
        raise UserError(
            f"{path} can be read by other users (mode {mode & 0o777:o}), and it holds passwords.\n"
            f"Change that: chmod 600 {path}"
        )
    settings = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name, equals, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not equals:
            raise UserError(f"{path}, line {number}: expected NAME=VALUE.\nCorrect that line.")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        settings[name.strip()] = value[1:-1] if quoted else value
    return settings


def _refuse_password(option: str, address: str | None) -> None:
    if address is None:
        return
    try:
        url = parsed(address)
    except ArgumentError:
        return  # `_absolute` says so
    if url.password is not None or "password" in url.query:
        variable = {"--database": DATABASE, "--accounts": ACCOUNTS}[option]
        raise UserError(
            f"{option}: other users can read the password on a command line.\n"
            f"Set {variable} in the environment or in the file of --settings instead."
        )


def _absolute(address: str, variable: str, option: str) -> str:
    """Return the address of a database, of an SQLite file by its absolute path."""
    if not address:
        raise UserError(f"{variable} is not set.\nSet it, or {option}, to {_EXAMPLES}; {_HELP}.")
    if not is_database(address):
        raise UserError(
            f"{variable}: {public(address)} is not the address of a database.\nSet it, or {option}, to {_EXAMPLES}."
        )
    try:
        path = sqlite_path(address)
        parsed(address)
    except ArgumentError as error:
        raise UserError(f"{variable}: not the address of a database.\nSet it to {_EXAMPLES}.") from error
    return address if path is None else sqlite_address(path.absolute())


def _beside(database: str) -> str:
    """Return the address of the accounts' database beside that of runs and models."""
    path = sqlite_path(database)
    if path is not None:
        return sqlite_address(path.with_name("accounts.db"))
    url = parsed(database)
    return url.set(database=f"{url.database}_accounts").render_as_string(hide_password=False)


def _store(artifacts: str | None) -> str:
    if not artifacts:
        raise UserError(
            f"{ARTIFACTS} is not set: where are the files of runs and models kept?\n"
            "Set it, or --artifacts, to a folder or s3://BUCKET/PATH."
        )
    scheme, separator, _ = artifacts.partition("://")
    if separator and scheme not in ("s3", "file"):
        raise UserError(
            f"{ARTIFACTS}: {public(artifacts)} is not supported.\nSet it to a folder or s3://BUCKET/PATH."
        )
    if separator:
        return artifacts
    folder = Path(artifacts).absolute()
    with suppress(OSError):  # see below
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"{folder}: this user may not write there.\n"
            f"Change the folder's owner, or set {ARTIFACTS} to another one."
        )
    return str(folder)


def _secrets(known: Mapping[str, str]) -> tuple[str, str, str]:
    """Return the secret key, and the administrator's name and password; there is no default for any secret."""
    for name, purpose in ((SECRET_KEY, "which signs forms"), (PASSWORD, "the administrator's password")):
        if not known.get(name):
            raise UserError(
                f"{name} is not set, {purpose}; it has no default.\n"
                f"Set it in the environment or in the file of --settings; {_HELP}."
            )
    key, password = known[SECRET_KEY], known[PASSWORD]
    if len(password) < LEAST_PASSWORD or password == _FORMER_DEFAULT:
        raise UserError(
            f"{PASSWORD} is too easy to guess; it needs at least {LEAST_PASSWORD} characters.\n"
            'Choose a random one: python3 -c "import secrets; print(secrets.token_urlsafe(18))"'
        )
    if len(key) < 16:
        raise UserError(
            f"{SECRET_KEY} is too short; it needs at least 16 characters.\n"
            'Choose a random one: python3 -c "import secrets; print(secrets.token_hex(32))"'
        )
    return key, known.get(ADMIN) or "admin", password


def _require_packages(settings: ServerSettings) -> None:
    needed = {"flask_wtf": "the login"}
    if settings.artifacts.startswith("s3:"):
        needed["boto3"] = "an s3:// store"
    if any(address.startswith("postgresql") for address in (settings.database, settings.accounts)):
        needed["psycopg"] = "PostgreSQL"
    for name, purpose in needed.items():
        if find_spec(name) is None:
            raise UserError(
                f"the package {name}, which {purpose} needs, is not installed.\n"
                'Install the server\'s packages: pip install "mergershift[server]"'
            )
