"""Which passwords one of several workers of a team's server accepts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mergershift.tracking.server_settings import read_settings, write_settings
from mergershift.tracking.team_server import _login

WORKER = """
from werkzeug.datastructures import Authorization
from mergershift.tracking import passwords

def knows(password):
    given = Authorization("basic", {"username": "ana", "password": password})
    return passwords.authenticated(given) is not None

passwords.auth.store.init_db(passwords.auth.auth_config.database_uri)
passwords.auth.store.create_user("ana", "the former password")
print(knows("the former password"), knows("the former password"))
passwords.auth.store.update_user("ana", password="the new password")  # as in another worker, unknown to this one
print(knows("the former password"), knows("the new password"), knows("the former password"))
passwords.auth.store.delete_user("ana")
print(knows("the new password"))
"""


def test_a_password_that_another_worker_has_changed_is_refused_at_once_and_for_good(tmp_path: Path) -> None:
    settings = read_settings(write_settings(tmp_path))
    with _login(settings) as (_, variables):
        done = subprocess.run(
            [sys.executable, "-c", WORKER],
            env=variables | {"PATH": "", "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.secret_key},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.stdout.splitlines() == ["True True", "False True False", "False"], done.stderr
