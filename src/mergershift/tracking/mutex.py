"""A mutex that lives on the tracking server, so that it holds between machines: a registered model's name is unique."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from mergershift.core.errors import UserError
from mergershift.tracking.server import answering, connect

STALE_SECONDS = 600.0
"""A holder that is older has died, or must find out that it lost the mutex."""
_WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.5


class Held:
    """The mutex while it is held."""

    def __init__(self, client: MlflowClient, name: str, token: str) -> None:
        self._client, self._name, self._token = client, name, token

    def check(self) -> None:
        """Raise UserError where another process has taken the mutex for abandoned and holds it now."""
        found = _read(self._client, self._name)
        if found is None or found.tags.get("token") != self._token:
            raise UserError(
                "This promotion took so long that another one has gone ahead.\nGive the command again."
            )

    def release(self) -> None:
        """Let the next one in."""
        found = _read(self._client, self._name)
        if found is not None and found.tags.get("token") == self._token:
            _delete(self._client, self._name)


@contextmanager
def mutex(address: str, name: str) -> Iterator[Held]:
    """Hold the mutex `name` on the server at `address`; waits for whoever holds it, and breaks one left behind.

    It is a registered model without versions that is gone afterwards. One whose process has died on this machine,
    or that is older than `STALE_SECONDS`, is taken over. Raises UserError where it is held for too long.
    """
    token = uuid.uuid4().hex
    with answering():
        client = connect(address)
        _acquire(client, name, token)
    held = Held(client, name, token)
    try:
        yield held
    finally:
        with answering():
            held.release()


def _acquire(client: MlflowClient, name: str, token: str) -> None:
    tags = {
        "token": token,
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "begun": str(psutil.Process().create_time()),
    }
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            client.create_registered_model(
                name, tags, description="Keeps two promotions apart; gone when the one under way ends."
            )
            return
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        holder = _read(client, name)
        if holder is not None and holder.tags.get("token") == token:
            return  # the answer to the first request was lost, and MLflow sent it again
        if holder is not None and _abandoned(holder):
            now = _read(client, name)  # another one may have taken it over meanwhile
            if now is not None and now.tags.get("token") == holder.tags.get("token"):
                _delete(client, name)
        elif time.monotonic() > until:
            place = (
                f"process {holder.tags.get('pid')} on {holder.tags.get('host')}" if holder else "another one"
            )
            raise UserError(
                f"Another promotion is under way ({place}).\nWait for it and give the command again."
            )
        else:
            time.sleep(_POLL_SECONDS)


def _abandoned(holder: RegisteredModel) -> bool:
    if time.time() - holder.creation_timestamp / 1000 > STALE_SECONDS:
        return True
    if holder.tags.get("host") != socket.gethostname():
        return False
    try:
        # Numbers of processes are given again: the same one that began at another time is another process.
        began = psutil.Process(int(holder.tags["pid"])).create_time()
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, KeyError, ValueError):
        return False
    return str(began) != holder.tags.get("begun")


def _read(client: MlflowClient, name: str) -> RegisteredModel | None:
    with answering():
        try:
            return client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None


def _delete(client: MlflowClient, name: str) -> None:
    try:
        client.delete_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
