"""The server of docker/compose.yaml: started, used, taken down, saved, destroyed, restored, upgraded.

The tests of this module run in their order, on one server. It begins with the artifacts in a volume and plain HTTP on
loopback, and is restored with SeaweedFS as its store behind Caddy. See tests/team/stack.py for what stands in for the
official images where those are not there.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from team.docker import Docker
from team.stack import Stack, stack
from tracking.samples import TRAINING

from mergershift.cells.records import RunContent
from mergershift.tracking import Publisher
from mergershift.tracking.server import connect

pytestmark = pytest.mark.team
LARGE = os.urandom(3 << 20)
"""A file of more than one of SeaweedFS's chunks."""


@pytest.fixture(scope="module")
def server(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The server, with settings but not started."""
    with stack(docker, tmp_path_factory.mktemp("stack")) as made:
        made.init()
        yield made


@pytest.fixture(scope="module")
def logins() -> dict[str, str]:
    """Passwords by account, as `make server-user` has printed them."""
    return {}


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What everybody saw on the first server."""
    return {}


@contextmanager
def acting(server: Stack, name: str, password: str) -> Iterator[MlflowClient]:
    """MLflow's variables of somebody who uses the server, and our client, which never asks for the store's address."""
    variables = {
        "MLFLOW_TRACKING_URI": server.address,
        "MLFLOW_TRACKING_USERNAME": name,
        "MLFLOW_TRACKING_PASSWORD": password,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }
    if server.settings["TLS_USED"]:
        variables["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(server.folder / "docker/ca.crt")
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        yield connect(server.address)


def status(server: Stack, address: str, login: tuple[str, str] | None = None) -> int:
    """HTTP status of an address."""
    request = urllib.request.Request(address)
    if login:
        request.add_header("Authorization", "Basic " + b64encode(":".join(login).encode()).decode())
    authority = server.folder / "docker/ca.crt"
    context = ssl.create_default_context(cafile=authority) if authority.exists() else None
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def contents(server: Stack, login: tuple[str, str]) -> dict[str, Any]:
    """All that people have put there: runs with their files, model versions, and the trials of searches."""
    with acting(server, *login) as client:
        experiments = client.search_experiments()
        runs = client.search_runs([found.experiment_id for found in experiments])
        shown = {
            run.info.run_id: [
                run.data.metrics,
                run.data.params,
                run.data.tags,
                files(client, run.info.run_id),
            ]
            for run in runs
        }
        versions = [
            (found.name, found.version, found.run_id, found.source, found.tags)
            for found in client.search_model_versions()
        ]
        names = [(found.name, found.experiment_id) for found in experiments]
    studies = {
        name: [(trial.number, trial.params, trial.values, trial.state) for trial in study.trials]
        for name in optuna.get_all_study_names(server.searches)
        for study in [optuna.load_study(study_name=name, storage=server.searches)]
    }
    return {"experiments": names, "runs": shown, "versions": versions, "studies": studies}


def files(client: MlflowClient, run_id: str, path: str | None = None) -> dict[str, str]:
    """Digests of a run's files."""
    found: dict[str, str] = {}
    for entry in client.list_artifacts(run_id, path):
        if entry.is_dir:
            found |= files(client, run_id, entry.path)
        else:
            local = client.download_artifacts(run_id, entry.path)
            found[entry.path] = hashlib.sha256(Path(local).read_bytes()).hexdigest()
    return found


def test_compose_accepts_every_combination_of_profiles(server: Stack) -> None:
    for profiles in ([], ["s3"], ["tls"], ["s3", "tls"]):
        server.compose(*(f"--profile={name}" for name in profiles), "config", "--quiet")


def test_it_starts_and_prints_the_lines_of_a_teammate(server: Stack, logins: dict[str, str]) -> None:
    said = server.done("server")
    assert f"export MLFLOW_TRACKING_URI={server.address}" in said
    assert server.settings["ADMIN_PASSWORD"] not in said
    logins["admin"] = server.settings["ADMIN_PASSWORD"]
    for name, role in (("ana", "editor"), ("rui", "reader")):
        said = server.done("server-user", f"NAME={name}", f"ROLE={role}")
        assert f"MLFLOW_TRACKING_URI={server.address}" in said
        (logins[name],) = re.findall(r"MLFLOW_TRACKING_PASSWORD=(\S+)", said)


def test_every_service_is_confined(server: Stack) -> None:
    """No root, nothing to write to but volumes and memory, no capabilities, limits, ports for this machine alone."""
    containers = server.containers()
    assert len(containers) == 6
    for container in containers:
        host, name = container["HostConfig"], container["Name"]
        assert container["Config"]["User"] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Init"], name
        assert host["Memory"] > 0, name
        bound = [port["HostIp"] for ports in host["PortBindings"].values() for port in ports]
        assert set(bound) <= {"127.0.0.1"}, name


def test_nobody_gets_in_without_a_login(server: Stack, logins: dict[str, str]) -> None:
    address = f"{server.address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert status(server, f"{server.address}/health") == 200
    assert status(server, address) == 401
    assert status(server, address, ("admin", "password1234")) == 401
    assert status(server, address, ("nobody", logins["ana"])) == 401
    assert status(server, address, ("rui", logins["rui"])) == 200
    with (
        acting(server, "rui", logins["rui"]) as client,
        pytest.raises(MlflowException, match="PERMISSION_DENIED"),
    ):
        client.create_experiment("a reader's own")


def test_pickles_are_not_loaded(server: Stack) -> None:
    said = server.compose(
        *("exec", "-T", "mlflow", "python", "-c"),
        "from mlflow.environment_variables import *; print(MLFLOW_ALLOW_PICKLE_DESERIALIZATION.get())",
    )
    assert said.strip() == "False"


def test_only_searches_are_open_to_workers_and_none_to_the_dashboards_user(server: Stack) -> None:
    import psycopg

    port = server.settings["DATABASE_PORT"]
    dashboard = server.settings["DASHBOARD_DATABASE_PASSWORD"]
    optuna.create_study(study_name="first", storage=server.searches)
    with psycopg.connect(f"postgresql://dashboard:{dashboard}@127.0.0.1:{port}/optuna") as connection:
        assert connection.execute("SELECT study_name FROM studies").fetchall() == [("first",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM studies")
    for name, database in (("optuna", "mlflow"), ("optuna", "mlflow_accounts"), ("dashboard", "mlflow")):
        password = server.settings[f"{name.upper()}_DATABASE_PASSWORD"]
        with pytest.raises(psycopg.OperationalError, match="no pg_hba"):
            psycopg.connect(f"postgresql://{name}:{password}@127.0.0.1:{port}/{database}")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://optuna:{dashboard}@127.0.0.1:{port}/optuna")


def test_what_is_logged_is_there_for_everybody(
    server: Stack, logins: dict[str, str], seen: dict[str, Any]
) -> None:
    spec = replace(TRAINING, experiment="mergershift")
    epochs = [{"epoch": 0, "train/loss": 0.5}]
    logged = RunContent(spec, "FINISHED", 2000, epochs, {0: 1000}, {}, {"large.bin": LARGE})
    with acting(server, "ana", logins["ana"]) as client:
        assert Publisher(server.address).publish(logged) == "published"
        experiment = client.get_experiment_by_name("mergershift")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        source = f"{run.info.artifact_uri}/large.bin"
        client.create_model_version("mergershift_candidates", source, run.info.run_id)
    study = optuna.load_study(study_name="first", storage=server.searches)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    seen |= contents(server, ("rui", logins["rui"]))
    assert len(seen["runs"]) == len(seen["versions"]) == len(seen["studies"]) == 1
    assert hashlib.sha256(LARGE).hexdigest() in str(seen["runs"])


def test_a_backup_replaces_nothing_unless_it_is_whole_and_wanted(server: Stack) -> None:
    """It is made of a server that is down, so of what its volumes have kept."""
    server.done("server-down")
    server.done("server-backup", "BACKUP=backups/whole")
    backup = server.folder / "backups/whole"
    assert backup.stat().st_mode & 0o777 == 0o700
    assert "exists" in server.refused("server-backup", "BACKUP=backups/whole")
    assert "CONFIRM=replace" in server.refused("server-restore", "BACKUP=backups/whole")
    damaged = server.folder / "backups/damaged"
    shutil.copytree(backup, damaged)
    with (damaged / "artifacts.tar").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 1024)
    assert "damaged" in server.refused("server-restore", "BACKUP=backups/damaged", "CONFIRM=replace")
    (damaged / "optuna.dump").unlink()
    assert "missing" in server.refused("server-restore", "BACKUP=backups/damaged", "CONFIRM=replace")
    assert sorted(path.name for path in backup.parent.iterdir()) == ["damaged", "whole"]


def test_what_was_destroyed_is_restored_into_another_store(
    server: Stack, logins: dict[str, str], seen: dict[str, Any]
) -> None:
    server.destroy()
    assert not server.volumes()
    server.change(
        COMPOSE_PROFILES="s3,tls", ARTIFACTS="s3://mlflow/artifacts", TLS_USED="yes", CADDY_TLS="internal"
    )
    server.done("server-restore", "BACKUP=backups/whole")
    assert server.address.startswith("https://")
    assert {"objects", "certificates"} <= server.volumes()
    assert contents(server, ("rui", logins["rui"])) == seen


def test_the_dashboard_asks_for_the_same_login(server: Stack, logins: dict[str, str]) -> None:
    address = f"https://localhost:{server.settings['DASHBOARD_HTTPS_PORT']}"
    assert status(server, f"{address}/api/studies") == 401
    assert status(server, f"{address}/api/studies", ("rui", "password1234")) == 401
    assert status(server, f"{address}/api/studies", ("rui", logins["rui"])) == 200
    assert status(server, f"{address}/dashboard/", ("rui", logins["rui"])) == 200


def test_an_upgrade_makes_a_backup_and_loses_nothing(
    server: Stack, logins: dict[str, str], seen: dict[str, Any]
) -> None:
    server.done("server-down")
    server.done("server-upgrade", "BACKUP=backups/before")
    assert contents(server, ("rui", logins["rui"])) == seen
    saved = [members(server.folder / f"backups/{name}/artifacts.tar") for name in ("whole", "before")]
    assert saved[0] == saved[1]
    assert saved[0]


def members(path: Path) -> dict[str, str]:
    """Digests of the files in an archive."""
    with tarfile.open(path) as archive:
        return {
            member.name: hashlib.sha256(content.read()).hexdigest()
            for member in archive
            if (content := archive.extractfile(member))
        }
