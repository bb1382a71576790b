"""Who may do what on a team's server: the authorization function of MLflow's login, called for every request.

MLflow's own permissions come afterwards and still have to be granted. They alone would let every user create
experiments and registered models, and let whoever can log to an experiment rename it or overwrite the files of a
registered model. Here, what is not known to be harmless is refused: a reader only reads; an editor logs runs and
registers candidates; a maintainer in addition writes to registered models; the administrator does everything.

This module is imported by MLflow's server alone: importing its login reads the server's settings.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from typing import Any
from urllib.parse import unquote, urlsplit

from flask import Response, after_this_request, g, jsonify, make_response, request
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.model_registry_pb2 import CreateModelVersion
from mlflow.protos.service_pb2 import CreateExperiment, CreateRun, DeleteRun, DeleteTag, LogBatch, SetTag
from mlflow.server import auth
from mlflow.server.auth.entities import User
from mlflow.server.handlers import (
    STATIC_PREFIX_ENV_VAR,
    _get_model_registry_store,
    _get_request_message,
    _get_tracking_store,
)
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from werkzeug.datastructures import Authorization

from mergershift.tracking.passwords import authenticated
from mergershift.tracking.roles import ACCOUNT_TAG, CANDIDATES, EDITOR, MAINTAINER, READER

_CALL = re.compile(r"/(?:ajax-)?api/\d\.\d/(mlflow|mlflow-artifacts)/(.+)")
_FILES = re.compile(r"(?:artifacts|mpu/(?:create|complete|abort))/(.+)")
_READING = ("GET", "HEAD", "OPTIONS")
_READS = frozenset(
    {
        "artifacts/presigned-download-url",
        "datasets/search",
        "experiments/search",
        "experiments/search-datasets",
        "issues/search",
        "logged-models/search",
        "registered-models/get-latest-versions",
        "runs/search",
        "traces/batchGetInfos",
        "traces/calculate-filter-correlation",
        "traces/metrics",
        "traces/search",
        "ui-telemetry",
        "users/update-password",
    }
)
"""Calls without GET that change nothing, and the change of one's own password."""
_LOGS = frozenset(
    {
        "experiments/create",
        "experiments/delete-experiment-tag",
        "experiments/restore",
        "experiments/set-experiment-tag",
        "logged-models",
        "runs/create",
        "runs/delete",
        "runs/delete-tag",
        "runs/log-batch",
        "runs/log-inputs",
        "runs/log-metric",
        "runs/log-model",
        "runs/log-parameter",
        "runs/outputs",
        "runs/restore",
        "runs/set-tag",
        "runs/update",
        "upload-artifact",
    }
)
"""Calls by which editors log; MLflow's permissions decide about each experiment."""
_LOGS_MODEL = re.compile(r"logged-models/([^/]+)(/.+)?")
_REGISTRY = ("model-versions/", "registered-models/")
_EXPERIMENTS = ("experiments/delete", "experiments/update")
_TAGGING = {
    "runs/create": CreateRun,
    "runs/log-batch": LogBatch,
    "runs/set-tag": SetTag,
    "runs/delete-tag": DeleteTag,
}


def authenticate() -> Authorization | Response:
    """Return who sends the request, or the refusal: 401 without valid credentials, 403 without the role it needs."""
    known: Authorization | None = g.get("mergershift_authorization")
    if known is not None:  # MLflow asks several times for each request
        return known
    given = request.authorization
    user = None if given is None else authenticated(given)
    if given is None or user is None:
        return auth.make_basic_auth_response()
    if not user.is_admin:
        refusal = _refusal(user)
        if refusal is not None:
            answer = jsonify({"error_code": "PERMISSION_DENIED", "message": refusal})
            return make_response(answer, 403)
    g.mergershift_authorization = given
    call = _call()
    if call == ("mlflow", "runs/create") and request.method == "POST":
        _record_account(user)
    elif call == ("mlflow", "users/current"):
        _say_that_login_is_basic()
    return given


def _refusal(user: User) -> str | None:
    """Return why a user, who is not the administrator, may not send this request; None if MLflow shall decide."""
    call = _call()
    if request.method in _READING or call in {("mlflow", name) for name in _READS} or _path() == "/graphql":
        return None
    roles = {role.name for role in auth.store.list_user_roles(user.id)}
    if not roles & {EDITOR, MAINTAINER}:
        return f"{user.username} is a {READER}: logging needs the role {EDITOR}"
    if call is None:
        return "only the administrator can do this"
    family, name = call
    maintains = MAINTAINER in roles
    if family == "mlflow-artifacts":
        return None if maintains else _refused_files(user, name)
    if name.startswith(_REGISTRY) or name in _EXPERIMENTS:
        return None if maintains else _refused_registration(name)
    if name not in _LOGS and not _LOGS_MODEL.fullmatch(name):
        return "only the administrator can do this"
    return _refused_logging(user, name, maintains=maintains)


def _refused_registration(name: str) -> str | None:
    """Editors add versions to candidates. Nothing else: a version's tags and files are those that were registered."""
    if name in _EXPERIMENTS:
        return f"only a {MAINTAINER} can rename or delete an experiment, which has runs of others"
    if name != "model-versions/create":
        return f"only a {MAINTAINER} can change registered models, their versions and aliases"
    sent = _sent(CreateModelVersion)
    if not sent.name.endswith(CANDIDATES):
        return f"only a {MAINTAINER} can add a version of {sent.name}"
    # By another address, as of a run or of the server itself, `_refused_place` would not know the files again.
    if urlsplit(sent.source).scheme not in ("mlflow-artifacts", "models"):
        return f"a candidate's files are named as mlflow-artifacts:/ or models:/, not as {sent.source}"
    return None


def _refused_logging(user: User, name: str, *, maintains: bool) -> str | None:
    # Anywhere else, even on the server's own disk, files would escape from these rules.
    if name == "experiments/create" and _sent(CreateExperiment).artifact_location:
        return "only the administrator can choose where an experiment's files are kept"
    if name in _TAGGING and ACCOUNT_TAG in _tags(_sent(_TAGGING[name])):
        return f"the server itself sets the tag {ACCOUNT_TAG}"
    if maintains:
        return None
    if name == "upload-artifact":
        return _refused_upload()
    if name == "runs/delete" and not _owns_run(user, _sent(DeleteRun).run_id):
        return f"only a {MAINTAINER} can delete the runs of others"
    model = _LOGS_MODEL.fullmatch(name)
    if model is not None and request.method == "DELETE" and not model[2]:
        found = _get_tracking_store().get_logged_model(model[1])
        if not _owns_run(user, found.source_run_id):
            return f"only a {MAINTAINER} can delete the models of others"
        return _refused_place(found.artifact_location)
    return None


def _refused_files(user: User, name: str) -> str | None:
    """Files of registered models are final, and only the files of one's own runs can be deleted."""
    found = _FILES.fullmatch(name)
    if found is None:
        return "only the administrator can do this"
    path = _plain(found[1])
    if request.method == "DELETE":
        run = re.match(r"[^/]+/([0-9a-f]{32})/artifacts(/|$)", path)
        if run is None or not _owns_run(user, run[1]):
            return f"only a {MAINTAINER} can delete the files of others"
    return _refused_place(path)


def _refused_upload() -> str | None:
    run, path = request.args.get("run_uuid"), request.args.get("path")
    if not run or not path:
        return "an upload needs run_uuid and path"
    return _refused_place(f"{_get_tracking_store().get_run(run).info.artifact_uri}/{path}")


def _refused_place(place: str) -> str | None:
    """Refuse a change of files that belong to a registered model."""
    changed = _plain(urlsplit(place).path if ":" in place.partition("/")[0] else place)
    registry: Any = _get_model_registry_store()
    with registry.ManagedSessionMaker() as session:
        rows = session.query(SqlModelVersion.storage_location, SqlModelVersion.source).all()
    final = {_plain(urlsplit(location).path) for row in rows for location in row if location}
    for model in final - {""}:
        if f"{changed}/".startswith(f"{model}/") or f"{model}/".startswith(f"{changed}/"):
            return f"only a {MAINTAINER} can change the files of a registered model"
    return None


def _owns_run(user: User, run_id: object) -> bool:
    try:
        run = _get_tracking_store().get_run(str(run_id))
    except MlflowException:
        return False
    return bool(run.data.tags.get(ACCOUNT_TAG) == user.username)


def _record_account(user: User) -> None:
    """Tag the run that this request creates with the account that creates it, whatever user its client names."""

    @after_this_request
    def tag(response: Response) -> Response:
        created = response.get_json(silent=True) if response.status_code == 200 else None
        if created:
            run_id = created["run"]["info"]["run_id"]
            _get_tracking_store().set_tag(run_id, RunTag(ACCOUNT_TAG, user.username))
        return response


def _sent(kind: type[Any]) -> Any:
    """Return the request's message, read as MLflow's own handler reads it."""
    return _get_request_message(kind())


def _say_that_login_is_basic() -> None:
    """Let the browser offer to log out and to change the password, which MLflow does for its own function alone."""

    @after_this_request
    def correct(response: Response) -> Response:
        said = response.get_json(silent=True)
        if isinstance(said, dict):
            response.set_data(json.dumps({**said, "is_basic_auth": True}))
        return response


def _tags(message: Any) -> set[str]:
    entries = [message] if hasattr(message, "key") else message.tags
    return {entry.key for entry in entries}


def _path() -> str:
    return request.path.removeprefix(os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/"))


def _call() -> tuple[str, str] | None:
    found = _CALL.fullmatch(_path())
    return None if found is None else (found[1], found[2])


def _plain(path: str) -> str:
    """Return a path however it was quoted, without superfluous parts, relative to the root of the store."""
    while (decoded := unquote(path)) != path:
        path = decoded
    return posixpath.normpath(f"/{path}").lstrip("/")
