"""The address of a team's tracking server: in conf/tracking/, which git tracks, with the login in MLflow's own file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mergershift.config import compose
from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.redaction import public
from mergershift.core.yaml_files import read_yaml
from mergershift.pipeline.team_check import Check
from mergershift.pipeline.team_secrets import Ask, login_of
from mergershift.tracking import login
from mergershift.tracking.connection import Connection, NoConnection, try_out

VARIABLE = "MLFLOW_TRACKING_URI"
# The variable still precedes the file: a compute node may reach the server by another name.
_VALUE = "${{oc.env:{variable},'{address}'}}"
_WRITTEN = re.compile(r"\$\{oc\.env:" + VARIABLE + r",\s*'([^']*)'\}")
_URI = re.compile(r"^uri:.*$", re.MULTILINE)
_REMEDY = "Fix the file."


def settings_file(here: Path) -> Path:
    """Return the file of conf/tracking/ that the configuration uses."""
    return here / "conf/tracking" / f"{compose().choices['tracking']}.yaml"


def read_address(here: Path) -> str | None:
    """Return the team's address in the configuration's file; None if it names none."""
    value = read_yaml(settings_file(here), dict[str, Any], _REMEDY).get("uri")
    if value is None:
        return None
    match = _WRITTEN.fullmatch(str(value))
    return match[1] if match else str(value)


def parse_address(address: str) -> str:
    """Return the address of a server for all of a team; raises UserError if it has credentials or is a file."""
    if public(address) != address:
        raise UserError(
            f"--tracking {public(address)}: its user or password is visible to everybody on this machine.\n"
            "Leave it out: the login is taken from the environment, from --credentials FILE or a question."
        )
    if not re.match(r"(https?|postgresql\+psycopg)://[^/\s']+", address) or re.search(r"[\s'\"${}]", address):
        raise UserError(
            f"--tracking {address}: expected the address of a server that all of you can reach.\n"
            "Write it as https://HOST or http://HOST:PORT."
        )
    return address.rstrip("/")


def write_address(here: Path, address: str) -> str:
    """Write the team's address to the configuration's file; returns the file's name."""
    path = settings_file(here)
    text = path.read_text()
    line = f"uri: {_VALUE.format(variable=VARIABLE, address=address)}"
    replaced, count = _URI.subn(lambda _: line, text, count=1)
    write_text(path, replaced if count else f"{text.rstrip()}\n{line}\n")
    return str(path.relative_to(here))


def check_tracking(address: str, experiment: str, check: Check) -> NoConnection | None:
    """Check a tracking server by a run that is deleted again; returns the fault, if there is one."""
    try:
        found = try_out(address, experiment)
    except NoConnection as error:
        check.fail(error.what, error.remedy[:1].lower() + error.remedy[1:])
        return error
    check.ok, check.found = True, _sentence(found, experiment)
    check.notes += found.notes
    return None


def _sentence(found: Connection, experiment: str) -> str:
    who = f"logged in as {found.user}" if found.user else "no login required"
    may = (
        f"you may log to '{experiment}'"
        if found.may_log
        else f"you may look at '{experiment}', not log to it"
    )
    return f"{found.address}: {who}; {may}"


def set_tracking(
    address: str, experiment: str, given: Mapping[str, str], ask: Ask | None, check: Check, *, replace: bool
) -> bool:
    """Log in to a team's server with whatever login is at hand, check it, and keep the login in MLflow's file.

    Args:
        address: Address of the server.
        experiment: Name of the experiment that trainings are logged to.
        given: Variables from a file of credentials.
        ask: Asks on the terminal for what is missing; None if there is none.
        check: Takes the outcome.
        replace: Whether to replace the login of another user in MLflow's file.

    Returns whether the server can be used.
    """
    fault: NoConnection | None = None
    used: login.Login | None = None
    for used in _logins(given):
        if used is not None:
            used.use()
        fault = check_tracking(address, experiment, check)
        if fault is None or not fault.login:
            break
    if fault is not None and fault.login and ask is not None:
        used = login.Login(ask(f"User at {address}", False), ask("Password", True))
        used.use()
        fault = check_tracking(address, experiment, check)
    if fault is not None:
        if fault.login:
            check.remedy = (
                f"set {login.USER} and {login.PASSWORD} in the environment, or give them in a file with "
                "`--credentials FILE`, and run the command again"
            )
        return False
    if used is not None:
        _keep(used, check, replace=replace)
    return True


def _logins(given: Mapping[str, str]) -> Iterator[login.Login | None]:
    """Yield the logins to try. MLflow would take that of the environment in any case, so that no other one follows."""
    first = login_of(given)
    if first is not None:
        yield first
        return
    variables = login.from_environment()
    yield variables if variables is not None else login.from_file()


def _keep(used: login.Login, check: Check, *, replace: bool) -> None:
    file = login.credentials_file()
    known = login.from_file()
    if known is not None and known.user != used.user and not replace:
        check.notes.append(
            f"{file} has the login of {known.user}, which is kept: MLflow knows one login a person. "
            f"Set {login.USER} and {login.PASSWORD} in the environment, or replace it with --replace."
        )
    elif login.store(used):
        check.written.append(str(file))


def foreign_variable(address: str) -> str | None:
    """Return a note if the environment names another server than the team's."""
    other = os.environ.get(VARIABLE)
    if not other or public(other).rstrip("/") == address:
        return None
    return f"{VARIABLE} is set to {public(other)}, which precedes the team's address: unset it."
