"""A teammate's day with a real S3 store and a real MLflow server with login; and stores of the other kinds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import requests
from checkouts import copy, link
from pipeline.shell import RunCounter, write_shell_project
from studies import dvc, environment, leave_page_out, stages
from team.stores import BUCKET, KEYS, S3, Sshd, s3_server, ssh_server
from tracking.team import TeamServer, secret

from mergershift.pipeline.dvc import dvc_repro
from mergershift.pipeline.graph import survey
from mergershift.pipeline.team import Wish, init

pytestmark = pytest.mark.system

PATH = "mergers/store"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TeamServer]:
    server = TeamServer(tmp_path_factory.mktemp("server"))
    server.start()
    server.welcome()
    yield server
    server.stop()


class Person:
    """Somebody with a home, a shell without anybody's credentials, and a clone."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.project = name, folder / "project"
        self.home = folder / "home"
        self.home.mkdir(parents=True)

    def run(self, *command: str, fails: bool = False, **variables: str) -> str:
        """What a command says, which has to end well unless it `fails`."""
        shell = {
            name: value
            for name, value in environment(self.project).items()
            if not name.startswith(("MLFLOW_", "AWS_"))
        }
        shell |= {"HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true"}
        shell |= {
            f"GIT_{who}_{what}": self.name for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            command,
            cwd=self.project,
            env=shell | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout + done.stderr
        assert bool(done.returncode) == fails, said[-4000:]
        return said

    def mergershift(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        return self.run(sys.executable, "-m", "mergershift", *arguments, fails=fails, **variables)

    def credentials(self) -> str:
        """A file with the store's key and the login on the server."""
        login = {"MLFLOW_TRACKING_USERNAME": self.name, "MLFLOW_TRACKING_PASSWORD": secret(self.name)}
        path = self.home / "credentials"
        path.write_text("".join(f"export {name}='{value}'\n" for name, value in (KEYS | login).items()))
        path.chmod(0o600)
        return str(path)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", message)


@pytest.fixture(scope="module")
def ana(
    first_repro: tuple[Path, CompletedProcess[str]], sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> Person:
    """The first person, who has run a study of two methods without a server, and pinned the data."""
    project, done = first_repro
    assert done.returncode == 0, done.stderr[-3000:]
    ana = Person("ana", tmp_path_factory.mktemp("ana"))
    copy(project, ana.project)
    link(sample, ana.project / "data")
    leave_page_out(ana.project)
    dvc(ana.project, "add", "--quiet", "data")
    return ana


def trained(said: str) -> list[str]:
    return [stage for stage in stages(said) if stage.startswith(("train@", "evaluate@"))]


def runs(server: TeamServer) -> dict[str, str]:
    """Account that created each active run of a training, by the run's id."""
    experiment = server.ask(
        "ana", "GET", "/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": "mergershift"}
    ).json()["experiment"]["experiment_id"]
    found = server.ask(
        "ana",
        "POST",
        "/api/2.0/mlflow/runs/search",
        json={"experiment_ids": [experiment], "max_results": 100},
    ).json()
    return {
        run["info"]["run_id"]: next(
            (tag["value"] for tag in run["data"]["tags"] if tag["key"] == "mergershift.account"), ""
        )
        for run in found.get("runs", ())
        if "study" not in run["info"]["run_name"]
    }


def test_a_day(store: S3, server: TeamServer, ana: Person, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Clone, init, pull, a change of one's own, push; and the other person takes it over."""
    addresses = [
        "--remote",
        f"s3://{BUCKET}/{PATH}",
        "--endpoint",
        store.address,
        "--tracking",
        server.address,
    ]
    refused = ana.mergershift("team", "init", *addresses, fails=True)
    assert "no access key is known" in refused
    assert "(401)" in refused, refused
    assert not (ana.project / ".dvc/config.local").exists()
    assert "team" not in (ana.project / ".dvc/config").read_text(), "nothing is set that does not work"
    assert "uri: null" in (ana.project / "conf/tracking/default.yaml").read_text()

    said = ana.mergershift("team", "init", *addresses, "--credentials", ana.credentials())
    assert [line.split()[:2] for line in said.splitlines() if line[:1].strip()][:3] == [
        ["store", "ok"],
        ["tracking", "ok"],
        ["secrets", "ok"],
    ]
    assert "logged in as ana; you may log to 'mergershift'" in said
    assert store.objects() == [], "the check left nothing behind"
    assert runs(server) == {}
    local = ana.project / ".dvc/config.local"
    assert local.stat().st_mode & 0o777 == (ana.home / ".mlflow/credentials").stat().st_mode & 0o777 == 0o600
    tracked = ana.run("git", "status", "--short") + ana.run("git", "diff")
    assert ".dvc/config.local" not in tracked
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in tracked
    assert secret("ana") not in tracked
    ana.commit("a team")
    ana.run(sys.executable, "-m", "dvc", "push", "--quiet", "--run-cache")
    assert "2 published" in ana.mergershift("sync")
    mine = runs(server)
    assert set(mine.values()) == {"ana"}
    assert len(mine) == 2

    eve = Person("eve", tmp_path_factory.mktemp("eve"))
    subprocess.run(["git", "clone", "-q", ana.project, eve.project], check=True)
    eve.mergershift("team", "init", "--credentials", eve.credentials())
    assert eve.run("git", "status", "--short") == ""
    assert stages(eve.mergershift("repro", "--pull")) == []
    assert (eve.project / "outputs/summary").is_dir()

    with (eve.project / "conf/adaptation/mmd.yaml").open("a") as file:
        file.write("# eve's own\n")
    text = (eve.project / "conf/training/demo.yaml").read_text()
    (eve.project / "conf/training/demo.yaml").write_text(text.replace("epochs: 3", "epochs: 2"))
    said = eve.mergershift("repro", "train@two-source_only-s0")
    assert trained(said) == ["train@two-source_only-s0"]
    theirs = {run: account for run, account in runs(server).items() if run not in mine}
    assert list(theirs.values()) == ["eve"], "beside mine, in the same experiment"
    offline = eve.mergershift("repro", MLFLOW_TRACKING_URI=NOWHERE)
    assert "train@two-mmd-s0" in trained(offline)
    assert "connection refused" in offline
    eve.commit("two epochs")
    eve.run(sys.executable, "-m", "dvc", "push", "--quiet", "--run-cache")
    assert eve.mergershift("team", "check").count(" ok ") == 4

    ana.run("git", "pull", "-q", str(eve.project))
    assert stages(ana.mergershift("repro", "--pull")) == []
    before = runs(server)
    assert "1 published" in ana.mergershift("sync"), "what eve has trained without the server"
    after = runs(server)
    assert len(after) == len(before) + 1 == 4
    assert "0 published" in ana.mergershift("sync")
    assert runs(server) == after


def test_a_reader_is_told_so_and_a_server_that_is_down_as_well(
    server: TeamServer, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    server.sign_in(monkeypatch, "rea")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking, secrets = init(Wish(tracking=server.address))
    assert tracking.ok
    assert "logged in as rea; you may look at 'mergershift', not log to it" in tracking.found
    assert secrets.ok
    assert len(tracking.written) == 2
    tracking, _ = init(Wish(tracking=NOWHERE, replace=True))
    assert not tracking.ok
    assert "connection refused" in tracking.found
    assert server.address in Path("conf/tracking/default.yaml").read_text(), "the former one stays"
    with pytest.raises(requests.ConnectionError):
        requests.get(NOWHERE, timeout=5)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.mark.parametrize("kind", ["ssh", "folder", "s3"])
def test_results_come_from_a_store_of_each_kind(
    kind: str,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    runs_of = RunCounter(tmp_path / "runs")
    wish = Wish()
    if kind == "ssh":
        server = request.getfixturevalue("sshd")
        monkeypatch.setenv("HOME", str(server.home))
        wish = Wish(remote=server.address)
    elif kind == "folder":
        (tmp_path / "shared").mkdir()
        wish = Wish(remote=str(tmp_path / "shared"))
    else:
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        wish = Wish(remote=f"s3://{BUCKET}/shell", endpoint=request.getfixturevalue("store").address)
    first = write_shell_project(tmp_path / "first")
    shutil.copytree(project / "conf", first / "conf", dirs_exist_ok=True)
    (first / "conf/study.yaml").write_text("cells: [a, b, c]\n")
    monkeypatch.chdir(first)
    checks = list(init(wish))
    assert all(check.ok for check in checks), [check.lines for check in checks]
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    dvc_repro()
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for command in (["add", "."], ["add", "--force", "outputs/note.txt"], ["commit", "-q", "-m", "results"]):
        subprocess.run(["git", *identity, *command], cwd=first, check=True)
    monkeypatch.setattr("studies.ENVIRONMENT", dict(os.environ))
    dvc(first, "push", "--quiet", "--run-cache")
    second = tmp_path / "second"
    subprocess.run(["git", "clone", "-q", first, second], check=True)
    monkeypatch.chdir(second)
    if kind == "s3":
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
    assert all(check.ok for check in init(Wish()))
    before = [runs_of(cell) for cell in "abc"]
    assert survey(second, pull=True)[1] == set()
    assert [runs_of(cell) for cell in "abc"] == before
    assert "b as committed" in (second / "outputs/summary.txt").read_text()
