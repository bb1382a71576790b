"""The roles on a team's server, and what MLflow has to grant them; `access` narrows that further."""

from __future__ import annotations

from dataclasses import dataclass

READER, EDITOR, MAINTAINER = "reader", "editor", "maintainer"
ROLES = (READER, EDITOR, MAINTAINER)
CANDIDATES = "_candidates"
"""End of the name of the registered model with the candidates, after the name of the model that has the champion."""
ACCOUNT_TAG = "mergershift.account"
"""Tag with the account that created a run; the server sets it, and nobody can change it."""


@dataclass(frozen=True)
class Grant:
    """Permission that a role has on a kind of resource."""

    kind: str
    which: str
    """Name of the resource, or * for all of this kind."""
    permission: str


DESCRIPTIONS = {
    READER: "Sees everything and changes nothing.",
    EDITOR: "Logs runs and registers candidates.",
    MAINTAINER: "Chooses the champion, in addition to what an editor does.",
}


def grants(role: str, model: str) -> tuple[Grant, ...]:
    """Return what MLflow has to grant a role.

    MLflow's permission to edit an experiment does not include deleting a run, which its clients do with a run that a
    repeated request created twice. Deleting is therefore granted, and `access` limits it to one's own.

    Args:
        role: one of `ROLES`.
        model: name of the registered model that has the champion.
    """
    match role:
        case "editor":
            return (
                Grant("experiment", "*", "EDIT"),
                Grant("run", "*", "MANAGE"),
                Grant("logged_model", "*", "MANAGE"),
                Grant("registered_model", f"{model}{CANDIDATES}", "EDIT"),
            )
        case "maintainer":
            return (
                Grant("experiment", "*", "MANAGE"),
                Grant("run", "*", "MANAGE"),
                Grant("logged_model", "*", "MANAGE"),
                Grant("registered_model", "*", "MANAGE"),
            )
    return (Grant("experiment", "*", "READ"), Grant("registered_model", "*", "READ"))
