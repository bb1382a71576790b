"""Verify the passwords of requests to a team's server.

This module is imported by MLflow's server alone: importing its login reads the server's settings.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from functools import cache
from threading import Lock

from mlflow.exceptions import MlflowException
from mlflow.server import auth
from mlflow.server.auth.entities import User
from werkzeug.datastructures import Authorization
from werkzeug.security import check_password_hash, generate_password_hash

_REMEMBERED = 1000
_verified: OrderedDict[tuple[str, bytes], None] = OrderedDict()
_verified_lock = Lock()
_process_key = secrets.token_bytes(32)


def authenticated(given: Authorization) -> User | None:
    """Return the user if the password is right.

    Verifying a password takes long on purpose. A password that was right is therefore remembered, as a keyed hash,
    for as long as the accounts' database has the same hash of it: a changed password is refused at once. It is
    compared with that hash alone: MLflow's own memory would still hold a password that another worker has changed.
    """
    if given.type != "basic" or not given.username or given.password is None:
        return None
    try:
        user = auth.store.get_user(given.username)
    except MlflowException:
        check_password_hash(_unknown_password(), given.password)  # a user who exists takes as long
        return None
    key = user.password_hash, hmac.digest(_process_key, given.password.encode(), "sha256")
    with _verified_lock:
        if key in _verified:
            _verified.move_to_end(key)
            return user
    if not check_password_hash(user.password_hash, given.password):
        return None
    if auth._is_disabled_legacy_admin_login(given.username, given.password, user):
        return None
    with _verified_lock:
        _verified[key] = None
        while len(_verified) > _REMEMBERED:
            _verified.popitem(last=False)
    return user


@cache
def _unknown_password() -> str:
    """Return the hash of a password that nobody has."""
    return str(generate_password_hash(secrets.token_hex()))
