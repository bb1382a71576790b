"""People and roles on a team's server, administered over its REST interface."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException
from mlflow.utils.credentials import get_default_host_creds, read_mlflow_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

from mergershift.core.errors import UserError
from mergershift.core.redaction import public
from mergershift.tracking.answers import is_server
from mergershift.tracking.diagnosis import answering
from mergershift.tracking.find_run import experiment_id
from mergershift.tracking.roles import CANDIDATES, DESCRIPTIONS, ROLES, Grant, grants
from mergershift.tracking.server import connect
from mergershift.tracking.server_settings import LEAST_PASSWORD

_WORKSPACE = "default"
"""All of a server without workspaces (`mlflow.utils.workspace_utils.DEFAULT_WORKSPACE_NAME`)."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "ENDPOINT_NOT_FOUND")


@dataclass(frozen=True)
class Account:
    """A user of the server after a change."""

    name: str
    role: str | None
    password: str | None
    """The new password; None if it was not changed."""
    created: bool


class Accounts:
    """The accounts of the server at an address, which its administrator's credentials are needed for.

    Every method raises UserError if the server does not answer or does not permit it.
    """

    def __init__(self, address: str) -> None:
        if not is_server(address):
            raise UserError(
                f"{public(address)} is a database, without accounts.\n"
                "Set MLFLOW_TRACKING_URI to the address of the team's server (`mergershift server`)."
            )
        self._address = address
        self.me = _require_administrator(address)

    def prepare(self, experiment: str, model: str, descriptions: Mapping[str, str]) -> list[str]:
        """Create what a team needs: the experiment, the registered models and the roles; returns what was missing.

        Args:
            experiment: name of the experiment.
            model: name of the registered model that has the champion.
            descriptions: of the registered models, by name.
        """
        made = []
        with answering(self._address):
            client = connect(self._address)
            known = client.get_experiment_by_name(experiment)
            experiment_id(client, self._address, experiment, restore=True)
            if known is None or known.lifecycle_stage == "deleted":
                made.append(f"experiment {experiment}")
            for name in (model, f"{model}{CANDIDATES}"):
                if not _has_model(client, name):
                    client.create_registered_model(name, description=descriptions.get(name))
                    made.append(f"registered model {name}")
            for role in ROLES:
                made += self._prepare_role(role, grants(role, model))
        return made

    def _prepare_role(self, role: str, wanted: tuple[Grant, ...]) -> list[str]:
        found = self._roles().get(role)
        made = []
        if found is None:
            values = {"workspace": _WORKSPACE, "name": role, "description": DESCRIPTIONS[role]}
            found = self._call("POST", "3.0/mlflow/roles/create", values)["role"]
            made.append(f"role {role}")
        listed = {
            Grant(entry["resource_type"], entry["resource_pattern"], entry["permission"])
            for entry in found.get("permissions") or ()
        }
        for grant in wanted:
            if grant in listed:
                continue
            values = {
                "role_id": found["id"],
                "resource_type": grant.kind,
                "resource_pattern": grant.which,
                "permission": grant.permission,
            }
            self._call("POST", "3.0/mlflow/roles/permissions/add", values)
            if not made:
                made.append(f"permissions of the role {role}")
        return made

    def put(self, name: str, role: str | None, password: str | None, *, renew: bool = False) -> Account:
        """Create a user, or change the role or password of one.

        Args:
            name: name of the user.
            role: the only role that the user has afterwards; None leaves it as it is.
            password: the new password; None: a random one for a new user.
            renew: whether a user who exists gets a random one, too.
        """
        if password is not None and len(password) < LEAST_PASSWORD:
            raise UserError(
                f"the password is too short: it needs at least {LEAST_PASSWORD} characters.\n"
                "Leave the choice to mergershift, or choose a longer one."
            )
        with answering(self._address):
            roles = self._roles()
            if role is not None and role not in roles:
                raise UserError(
                    f"{public(self._address)} has no role {role} yet.\nRun `mergershift team setup` first."
                )
            user = self._user(name)
            if user is None and role is None:
                raise UserError(
                    f"{public(self._address)} has no user {name}.\n"
                    f"Add one with a role: mergershift team user {name} --role editor"
                )
            if user is not None and user["is_admin"] and role is not None:
                raise UserError(
                    f"{name} is an administrator, who may do everything whatever the role.\n"
                    "Choose another name for the account that trainings use."
                )
            if password is None and (user is None or renew):
                password = secrets.token_urlsafe(18)
            if user is None:
                self._call("POST", "2.0/mlflow/users/create", {"username": name, "password": password})
            held = "administrator" if user is not None and user["is_admin"] else role or self._role_of(name)
            if role is not None:
                self._assign(name, role, roles)
            if user is not None and password is not None:
                values = {"username": name, "password": password}
                if name == self.me:
                    values["current_password"] = read_mlflow_creds().password or ""
                self._call("PATCH", "2.0/mlflow/users/update-password", values)
            return Account(name, held, password, created=user is None)

    def remove(self, name: str) -> None:
        """Remove a user; their runs stay."""
        if name == self.me:
            raise UserError(
                f"{name} is the administrator whose credentials this command uses.\n"
                "Use those of another administrator to remove this one."
            )
        with answering(self._address):
            if self._user(name) is None:
                raise UserError(f"{public(self._address)} has no user {name}.\nNothing was changed.")
            self._call("DELETE", "2.0/mlflow/users/delete", {"username": name})

    def _assign(self, name: str, role: str, roles: Mapping[str, Mapping[str, Any]]) -> None:
        """Give the user this role, and take the others; the new one first, so that nobody is without any."""
        held = self._held(name)
        for other in sorted({role, *held} & set(ROLES), key=lambda known: known != role):
            values = {"username": name, "role_id": roles[other]["id"]}
            if other == role and other not in held:
                self._call("POST", "3.0/mlflow/roles/assign", values)
            elif other != role:
                self._call("DELETE", "3.0/mlflow/roles/unassign", values)

    def _held(self, name: str) -> set[str]:
        found = self._call("GET", "3.0/mlflow/users/roles/list", {"username": name})
        return {role["name"] for role in found["roles"]}

    def _role_of(self, name: str) -> str | None:
        held = self._held(name)
        return next((role for role in reversed(ROLES) if role in held), None)

    def _roles(self) -> dict[str, Mapping[str, Any]]:
        found = self._call("GET", "3.0/mlflow/roles/list", {"workspace": _WORKSPACE})
        return {role["name"]: role for role in found["roles"]}

    def _user(self, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._call("GET", "2.0/mlflow/users/get", {"username": name})["user"]
        except MlflowException as error:
            if error.error_code != _ABSENT[0]:
                raise
            return None
        return found

    def _call(self, method: str, path: str, values: Mapping[str, Any]) -> Any:
        return call(self._address, method, path, values)


def call(address: str, method: str, path: str, values: Mapping[str, Any]) -> Any:
    """Send a request to the REST interface of a server with login, which MLflow's client does not cover.

    Raises MlflowException if the server refuses it.
    """
    endpoint = f"/api/{path}"
    sent = {"params" if method == "GET" else "json": dict(values)}
    response = verify_rest_response(
        http_request(get_default_host_creds(address), endpoint, method, **sent), endpoint
    )
    return response.json() if response.content else {}


def require_write(address: str, model: str, role: str) -> None:
    """Raise UserError unless this user may write to a registered model; a server without login permits everything.

    Args:
        address: address of the server or database.
        model: name of the registered model.
        role: the role of `mergershift server` that may.
    """
    if not is_server(address):
        return
    with answering(address):
        client = connect(address)
        user = _current_user(address)
        if user is None or user["is_admin"]:
            return
        asked = {"username": user["username"], "resource_type": "registered_model", "resource_id": model}
        permission = call(address, "GET", "3.0/mlflow/users/permissions/get", asked)["permission"]
        if permission in ("EDIT", "MANAGE"):
            return
        known = _has_model(client, model)
    name = user["username"]
    if not known:
        raise UserError(
            f"{public(address)} has no registered model {model}, and {name} may not create one.\n"
            "Ask its administrator to run `mergershift team setup` with this configuration."
        )
    raise UserError(
        f"{name} may not add versions to {model} on {public(address)}: that needs the role {role}.\n"
        f"Ask a {role} to run this command, or the administrator for the role "
        f"(`mergershift team user {name} --role {role}`)."
    )


def _current_user(address: str) -> Mapping[str, Any] | None:
    """Return the user whose credentials are used; None on a server without login."""
    try:
        found: Mapping[str, Any] = call(address, "GET", "2.0/mlflow/users/current", {})["user"]
    except RestException as error:
        if error.error_code in _ABSENT:
            return None
        raise
    except MlflowException as error:
        if "error code 404" in str(error):
            return None
        raise
    return found


def _require_administrator(address: str) -> str:
    """Return the administrator's name; raises UserError if the credentials in use are not an administrator's."""
    with answering(address):
        connect(address)
        user = _current_user(address)
    if user is None:
        raise UserError(
            f"{public(address)} has no login, and so no accounts.\n"
            "Start the server with `mergershift server`, or set MLFLOW_TRACKING_URI to the team's."
        )
    if not user["is_admin"]:
        raise UserError(
            f"{user['username']} is not an administrator of {public(address)}.\n"
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to the administrator's."
        )
    return str(user["username"])


def _has_model(client: MlflowClient, name: str) -> bool:
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _ABSENT[0]:
            raise
        return False
    return True
