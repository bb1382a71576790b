"""The unit file with which systemd runs a team's server."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from mergershift.core.database_files import sqlite_path
from mergershift.core.errors import UserError
from mergershift.tracking.mlflow_server import Serving
from mergershift.tracking.server_settings import read_settings

_UNIT = """# Written by `mergershift server --systemd`. As /etc/systemd/system/mergershift.service, root starts it with
#   systemctl daemon-reload && systemctl enable --now mergershift
[Unit]
Description=MLflow server of the team (mergershift server)
Documentation=https://mlflow.org/docs/latest/
Wants=network-online.target
After=network-online.target postgresql.service

[Service]
Type=exec
User={user}
# Passwords are in this file alone, with mode 600; a setting of the environment takes precedence over --settings.
EnvironmentFile={settings}
ExecStart={command}
Restart=on-failure
RestartSec=5
# SIGTERM ends the server and its workers within seconds.
TimeoutStopSec=30
KillMode=mixed
UMask=0077

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
ReadWritePaths={writable}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
MemoryMax=4G

[Install]
WantedBy=multi-user.target
"""


def unit_file(serving: Serving, file: Path | None, options: Mapping[str, str]) -> str:
    """Return a unit file that runs the server with this interpreter, as this user.

    Args:
        serving: where the server listens.
        file: file with the settings, which systemd reads.
        options: further options of `mergershift server`, with their values.

    Raises UserError without a file of settings, and if its settings would not let the server start.
    """
    if file is None:
        raise UserError(
            "--systemd needs a file with the settings, since a unit file may hold no password.\n"
            "Write one with `mergershift server --init FOLDER`, and give it with --settings FOLDER/server.env."
        )
    settings = read_settings(
        file,
        database=options.get("--database"),
        accounts=options.get("--accounts"),
        artifacts=options.get("--artifacts"),
    )
    # systemd starts the command in /, where relative paths would be others
    stores = {
        "--database": settings.database,
        "--accounts": settings.accounts,
        "--artifacts": settings.artifacts,
    }
    given = {name: stores.get(name, value) for name, value in options.items()}
    folders = {path.parent for path in map(sqlite_path, (settings.database, settings.accounts)) if path}
    if "://" not in settings.artifacts:
        folders.add(Path(settings.artifacts))
    here = [file.resolve(), Path(sys.prefix), *folders]
    inside = any(path.is_relative_to(top) for path in here for top in ("/home", "/root", "/run/user"))
    command = [sys.executable, "-m", "mergershift", "server"]
    where = ["--host", serving.host, "--port", str(serving.port)]
    further = [word for option in given.items() for word in option]
    return _UNIT.format(
        user=pwd.getpwuid(os.geteuid()).pw_name,
        settings=str(file.resolve()).replace("%", "%%"),  # which has no quotes, unlike other settings
        command=" ".join(_quoted(word, command=True) for word in [*command, *where, *further]),
        home="read-only" if inside else "yes",
        writable=" ".join(_quoted(str(folder)) for folder in sorted(folders)),
    ).replace("ReadWritePaths=\n", "")


def _quoted(word: str, *, command: bool = False) -> str:
    """Quote a word as systemd reads it: % begins a specifier, $ a variable of a command (systemd.unit, .service)."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if command:
        word = word.replace("$", "$$")
    return f'"{word}"' if any(character in word for character in " \t'\";") else word
