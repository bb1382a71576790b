"""The check of a team's store: an object is written, read back, compared and deleted as `dvc push` and `pull` do it.

One of the modules that use DVC's Python interface; `dvc` lists what.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mergershift.pipeline.team_check import Check
from mergershift.pipeline.team_faults import Fault, fault_of
from mergershift.pipeline.team_store import Store

if TYPE_CHECKING:
    from dvc.data_cloud import Remote

_TIMEOUTS: dict[str, dict[str, int]] = {
    "s3": {"connect_timeout": 5, "read_timeout": 20},
    "ssh": {"timeout": 15},
}
"""Seconds to wait for an answer, unless the options of the remote say otherwise."""
_SIZE = 4096


def check_store(store: Store, check: Check, *, interactive: bool) -> Fault | None:
    """Check a store by a round trip; returns the fault, if there is one.

    Args:
        store: The store, as it is or as it would be configured.
        check: Takes the outcome.
        interactive: Whether the library of the remote may ask on the terminal, for the passphrase of a key.
    """
    # With less patience than boto has by default: a server that is down is found out in seconds.
    for name, value in {"AWS_MAX_ATTEMPTS": "2", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1"}.items():
        os.environ.setdefault(name, value)
    fault: Fault | None
    try:
        remote = _open(store, interactive=interactive)
        if store.protocol == "ssh":
            check.notes += _host_key(store)
        if store.protocol in ("ssh", "local") and not remote.fs.exists(remote.path):
            raise FileNotFoundError(remote.path)
        modes = _round_trip(remote)
    except _ChangedHostKey as error:
        fault = Fault(str(error), "ask its administrator; then `ssh-keygen -R HOST` and `ssh HOST` once")
    except Exception as error:  # every kind of remote has exceptions of its own
        fault = fault_of(error, store.protocol, store.place)
    else:
        fault = _permissions(remote, modes, check) if modes else None
    if fault is None:
        check.ok, check.found = True, f"{store}: wrote, read and deleted an object"
    else:
        check.fail(f"{store}: {fault.what}", fault.remedy)
    return fault


def _open(store: Store, *, interactive: bool) -> Remote:
    from dvc.data_cloud import Remote
    from dvc.fs import get_cloud_fs

    options: dict[str, Any] = dict(_TIMEOUTS.get(store.protocol, {})) | dict(store.shared) | dict(store.own)
    cls, config, path = get_cloud_fs({}, **options)
    asking = {}
    if store.protocol == "ssh" and not interactive:
        from asyncssh import SSHClient

        asking = {"client_factory": SSHClient}  # DVC's own asks on the terminal
    return Remote(store.name, path, cls(**config, **asking), tmp_dir=tempfile.gettempdir(), **config)


def _round_trip(remote: Remote) -> tuple[int, int] | None:
    """Write, read and delete an object; returns the modes of its file and of its folder, where there are any."""
    from dvc.fs import localfs

    content = os.urandom(_SIZE)
    name = hashlib.md5(content, usedforsecurity=False).hexdigest()
    store = remote.odb
    path = store.oid_to_path(name)
    with tempfile.TemporaryDirectory(prefix="mergershift-") as folder:
        sent, back = Path(folder) / "sent", Path(folder) / "back"
        sent.write_bytes(content)
        try:
            store.add(str(sent), localfs, name, check_exists=False)
            remote.fs.get_file(path, str(back))
            modes = _mode(remote, path), _mode(remote, remote.fs.parent(path))
        finally:
            with suppress(Exception):  # what has failed before says more
                store.delete(name)
        if back.read_bytes() != content:
            raise OSError("it gave back something else than was written")
        if remote.fs.exists(path):
            raise PermissionError("what was written could not be deleted")
    file, above = modes
    return None if file is None or above is None else (file, above)


def _mode(remote: Remote, path: str) -> int | None:
    facts = remote.fs.info(path)
    mode = facts.get("mode", facts.get("permissions"))
    return mode if isinstance(mode, int) else None


def _permissions(remote: Remote, modes: tuple[int, int], check: Check) -> Fault | None:
    """Find out whether teammates can read what one writes, and whether one can write where they have written."""
    file, folder = modes
    share = "set `umask 002` there, or `setfacl -R -d -m g::rwX FOLDER` once"
    if not file & stat.S_IRGRP or folder & 0o050 != 0o050:
        return Fault("what you write there cannot be read by your group", share)
    if not folder & stat.S_IWGRP:
        check.notes.append(
            f"Folders that you create there are writable by you alone: if teammates have own accounts, {share}."
        )
    if remote.fs.protocol == "local":
        closed = [
            entry.path
            for part in (remote.odb.path, os.path.join(remote.path, "runs"))
            if os.path.isdir(part)
            for entry in os.scandir(part)
            if entry.is_dir() and not os.access(entry.path, os.W_OK | os.X_OK)
        ]
        if closed:
            return Fault(
                f"you may not write in {closed[0]}" + (f" and {len(closed) - 1} more" if closed[1:] else ""),
                "have whoever created them run `chmod -R g+rwX` on the folder",
            )
    return None


class _ChangedHostKey(Exception):
    """The key of an SSH server is another one than known_hosts lists."""


def _host_key(store: Store) -> list[str]:
    """Compare the key of an SSH server with ~/.ssh/known_hosts, which DVC itself does not do.

    Returns a note if the server is not known yet; raises _ChangedHostKey if it has another key than before.
    """
    import asyncssh

    parts = urlsplit(store.url)
    host, port = parts.hostname or "", parts.port
    file = Path("~/.ssh/known_hosts").expanduser()
    address = str(socket.getaddrinfo(host, port or 22, type=socket.SOCK_STREAM)[0][4][0])
    known = asyncssh.match_known_hosts(str(file), host, address, port or 22)[0] if file.is_file() else []
    algorithms = [key.algorithm.decode() for key in known]
    asking = asyncssh.get_server_host_key(host, port or (), server_host_key_algs=algorithms or ())
    try:
        key = asyncio.run(asyncio.wait_for(asking, _TIMEOUTS["ssh"]["timeout"]))
    except asyncssh.KeyExchangeFailed as error:
        raise _ChangedHostKey(f"{store.place} has no key of the kind in ~/.ssh/known_hosts") from error
    if key is None:
        return []
    shown = key.get_fingerprint()
    if not known:
        return [f"{store.place} is not in ~/.ssh/known_hosts, so nobody has compared its key {shown}."]
    if all(key.public_data != other.public_data for other in known):
        raise _ChangedHostKey(f"{store.place} has another key than ~/.ssh/known_hosts lists ({shown})")
    return []
